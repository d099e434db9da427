// What the listings of the articles may use: the names of the program in "A trainer of your own".
import Lockstep

struct Points: Dataset {
    let count = 2000
    let itemsPerSample = 1

    func batch(epoch: Int, _ samples: [Int]) -> (xy: [Float], arm: [Int32]) { ([], []) }
}

struct Classifier: Module {
    let layers = Sequential(Linear(2, 64), ReLU(), Linear(64, 2))
    func callAsFunction(_ xy: Tensor) -> Tensor { layers(xy) }
}

struct Context {
    let ring: Ring
    let model: Classifier
    let recipe: Recipe
    let trainer: Trainer<Points>
    let tape: Tape
    let x: Tensor
    let blocks: [GPT.Block]
}
