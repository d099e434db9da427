import CProcess
import Glibc
import Lockstep
import Synchronization

/// A program on the library that handles every signal there is, to see on which thread: `Probe compute gpt|cnn|products STEPS`.
///
/// Says `ready` when it computes, and at the end how many handlers ran, how many of them on a thread that computes or that the library
/// started, and what was computed: `handled 812 astray 0 digest ...`. In a job it joins its ring, by `Ring` itself and not by `runWorker`.
struct Compute {
    let kind: String
    let steps: Int

    private static let handled = Atomic<Int>(0)
    private static let astray = Atomic<Int>(0)

    init(arguments: [String]) {
        kind = arguments[0]
        steps = Int(arguments[1])!
    }

    func run() throws {
        Compute.handleAll()
        let digest =
            switch kind {
            case "gpt": try gpt()
            case "cnn": try cnn()
            default: products()
            }
        let (handled, astray) = (Compute.handled.load(ordering: .relaxed), Compute.astray.load(ordering: .relaxed))
        tell("handled \(handled) astray \(astray) digest \(digest)")
    }

    /// All but what a thread's own faults raise, what cannot be handled, and what glibc keeps for itself.
    private static func handleAll() {
        _ = (handled.load(ordering: .relaxed), astray.load(ordering: .relaxed))
        let left: [Int32] = [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGKILL, SIGSTOP, SIGPIPE, 32, 33]
        for number in 1..<Int32(65) where !left.contains(number) {
            var action = sigaction()
            action.__sigaction_handler.sa_handler = { _ in
                Compute.handled.add(1, ordering: .relaxed)
                if lockstep_thread_takes_signals() == 0 { Compute.astray.add(1, ordering: .relaxed) }
            }
            action.sa_flags = SA_RESTART
            sigaction(number, &action, nil)
        }
    }

    private func tell(_ line: String) {
        print(line)
        fflush(nil)
    }

    // MARK: What is computed

    private struct Noise: Dataset {
        let count = 64
        let itemsPerSample = 1

        func batch(epoch: Int, _ samples: [Int]) -> [Int] { samples }
    }

    private func train(_ model: some Module, _ loss: @escaping ([Int], Tape) -> Loss) throws -> String {
        let ring = try Ring(.current())
        let recipe = Recipe(globalBatch: 8, microBatch: 4, length: .steps(steps), schedule: Schedule(learningRate: 1e-3))
        let trainer = try Trainer(model: model, data: Noise(), optimizer: AdamW(), recipe: recipe, ring: ring, loss: loss)
        tell("ready")
        while !trainer.isDone { _ = try trainer.step() }
        let digest = trainer.weightsDigest.hex
        ring.close()
        return digest
    }

    private func gpt() throws -> String {
        let model = GPT(GPT.Configuration(vocabulary: 61, context: 32, layers: 2, heads: 2, embedding: 64))
        return try train(model) { samples, tape in
            var (inputs, targets): ([Int32], [Int32]) = ([], [])
            for sample in samples {
                let tokens = (0..<33).map { (place: Int) -> Int32 in Int32((sample * 7 + place * place) % 61) }
                inputs += tokens.dropLast()
                targets += tokens.dropFirst()
            }
            let shape = [samples.count, 32]
            return softmaxCrossEntropy(model(tape.indices(inputs, shape)), tape.indices(targets, shape))
        }
    }

    private func cnn() throws -> String {
        let model = CNN(CNN.Configuration(channels: 1, height: 16, width: 16, classes: 10))
        return try train(model) { samples, tape in
            var pixels: [Float] = []
            for sample in samples {
                for place in 0..<256 { pixels.append(Float((sample * 31 + place * 17) % 23) / 11 - 1) }
            }
            let labels = samples.map { Int32($0 % 10) }
            return softmaxCrossEntropy(model(tape.input(pixels, [samples.count, 16, 16, 1])), tape.indices(labels, [samples.count]))
        }
    }

    /// Products of many shapes, transposed and not, without a ring and before there could be one.
    private func products() -> String {
        let tape = Tape()
        var digest: UInt64 = 14_695_981_039_346_656_037
        tell("ready")
        let sizes = [1, 3, 16, 33, 64, 100, 128, 257, 384]
        for round in 0..<steps {
            let m = sizes[round % sizes.count]
            let n = sizes[(round / 2) % sizes.count]
            let k = sizes[(round * 5 + 1) % sizes.count]
            let (flipsLeft, flipsRight) = (round % 2 == 1, round % 3 == 1)
            tape.begin(.inference)
            let a = tape.input((0..<m * k).map { Float($0 % 17) - 8 }, flipsLeft ? [k, m] : [m, k])
            let b = tape.input((0..<k * n).map { Float($0 % 13) - 6 }, flipsRight ? [n, k] : [k, n])
            for value in a.matrixProduct(b, transposeSelf: flipsLeft, transposeOther: flipsRight).values {
                digest = (digest ^ UInt64(value.bitPattern)) &* 1_099_511_628_211
            }
        }
        return String(digest, radix: 16)
    }
}
