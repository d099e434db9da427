import Checkpoints
import Collectives
import Datasets
import Membership
import NeuralNetworks
import Optimizers
import Tensors
import Training

/// A data set of made-up numbers: two classes that a line does not part.
struct Numbers: Dataset {
    var count = 101
    let itemsPerSample = 1

    func batch(epoch: Int, _ samples: [Int]) -> (x: [Float], labels: [Int32]) {
        var x: [Float] = []
        for sample in samples {
            for feature in 0..<4 { x.append(Float((sample * 31 + feature * 17) % 23) / 11 - 1) }
        }
        return (x, samples.map { Int32(($0 * 31) % 23 > 11 ? 1 : 0) })
    }
}

/// Dropout included, so that its random numbers are in every digest.
struct SmallNet: Module {
    let first: Linear
    let second: Linear

    init(hidden: Int) {
        first = Linear(4, hidden)
        second = Linear(hidden, 2)
    }

    func callAsFunction(_ x: Tensor) -> Tensor { second(first(x, activation: .relu).dropout(0.1)) }
}

/// A trainer of the above; `spoil` may make the loss misbehave.
func smallTrainer(
    _ ring: Ring, steps: Int = 12, globalBatch: Int = 20, microBatch: Int = 3, reduction: Recipe.ReductionMode = .exact,
    rate: Double = 0.05, precision: Precision = .float32, hidden: Int = 19, spoil: @escaping @Sendable (_ loss: Loss, _ pass: Pass) -> Loss = { loss, _ in loss }
) throws -> Trainer<Numbers> {
    let model = SmallNet(hidden: hidden)
    // A wide one takes smaller steps, or its gradients are zero after two.
    let rate = rate * 19 / Double(hidden)
    let recipe = Recipe(
        globalBatch: globalBatch, microBatch: microBatch, length: .steps(steps),
        schedule: Schedule(learningRate: rate, warmupSteps: 2, decay: .cosine(endStep: 12, minimum: rate / 50)), clipNorm: 1,
        reduction: reduction, precision: precision)
    return try Trainer(
        model: model, data: Numbers(), optimizer: AdamW(weightDecay: 0.01), recipe: recipe, ring: ring
    ) { batch, tape in
        let logits = model(tape.input(batch.x, [batch.labels.count, 4]))
        return spoil(softmaxCrossEntropy(logits, tape.indices(batch.labels, [batch.labels.count])), tape.pass)
    }
}

/// A ring of one.
func alone() throws -> Ring { try Ring(WorkerEnvironment()) }
