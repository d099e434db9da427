import Glibc
import Lockstep

/// Trains linear layers of 512 by 512 for some steps and then evaluates them, in a process that does nothing else. Says
/// how many parameters there are, and the most memory that this process has had by the end of each:
/// `parameters 1048576 trained 52428800 evaluated 52428800`.
struct ModelMemory {
    private let layers: Int
    private let batch: Int
    private let reduction: Recipe.ReductionMode
    private let optimizer: any Optimizer

    init(arguments: [String]) {
        layers = Int(arguments[0])!
        batch = Int(arguments[1])!
        reduction = Recipe.ReductionMode(rawValue: arguments[2])!
        optimizer =
            switch arguments[3] {
            case "adamw": AdamW()
            case "momentum": SGD(momentum: 0.9)
            default: SGD()
            }
    }

    private struct Ones: Dataset {
        let count: Int
        let itemsPerSample = 1

        func batch(epoch: Int, _ samples: [Int]) -> [Int] { samples }
    }

    func run() throws {
        let model = Sequential((0..<layers).map { _ in Linear(512, 512, bias: false) })
        let recipe = Recipe(
            globalBatch: 3 * batch, microBatch: batch, length: .steps(3), schedule: Schedule(learningRate: 1e-3),
            reduction: reduction)
        func loss(_ samples: [Int], _ tape: Tape) -> Loss {
            let x = tape.input([Float](repeating: 1, count: samples.count * 512), [samples.count, 512])
            return softmaxCrossEntropy(model(x), tape.indices(samples.map { Int32($0 % 512) }, [samples.count]))
        }
        let trainer = try Trainer(
            model: model, data: Ones(count: 3 * batch), optimizer: optimizer, recipe: recipe,
            ring: Ring(WorkerEnvironment()), loss: loss)
        while !trainer.isDone { _ = try trainer.step() }
        let trained = peakBytes()
        _ = try trainer.evaluate(Ones(count: batch)) { Score(loss: loss($0, $1)) }
        let parameters = model.namedParameters().reduce(0) { $0 + $1.parameter.count }
        print("parameters \(parameters) trained \(trained) evaluated \(peakBytes())")
    }

    /// Of this program: `getrusage` counts the process that it was started from, too.
    private func peakBytes() -> Int {
        guard let file = fopen("/proc/self/status", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        while fgets(&line, Int32(line.count), file) != nil {
            let words = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                .split(whereSeparator: \.isWhitespace)
            if words.first == "VmHWM:", words.count > 1, let kilobytes = Int(words[1]) { return kilobytes * 1024 }
        }
        return 0
    }
}
