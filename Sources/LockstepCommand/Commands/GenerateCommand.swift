import ArgumentParser
import Lockstep
import Processes
import RawText

/// `lockstep generate`.
struct GenerateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate", abstract: "Writes text with a trained model, character by character.",
        usage: "lockstep generate --checkpoint <run> --prompt <text> [<options>]")

    @Option(help: "A run's --out directory, or one of its checkpoints.")
    var checkpoint: String

    @Option(parsing: .unconditional, help: "The text to go on from.")
    var prompt: String

    @Option(parsing: .unconditional, help: "Characters to write.")
    var tokens = 500

    @Option(parsing: .unconditional, help: "0 always takes the likeliest character; 1 draws as the model learned.")
    var temperature = 0.8

    @Option(parsing: .unconditional, help: "Draw from the likeliest so many characters only; 0 for all.")
    var topK = 0

    @Option(parsing: .unconditional, help: "Seed of the draws.")
    var seed: UInt64 = 1

    func validate() throws {
        if tokens < 0 { throw ValidationError("--tokens is \(tokens), which must be at least 0.") }
        if topK < 0 { throw ValidationError("--top-k is \(topK), which must be at least 0.") }
        if !(temperature >= 0 && temperature.isFinite) {
            throw ValidationError("--temperature is \(temperature.brief), which must be at least 0.")
        }
        if checkpoint.isEmpty { throw ValidationError("--checkpoint is empty; give a run's --out directory, or one of its checkpoints.") }
        if RawText.hasEscapes(prompt) { throw ValidationError("--prompt is not UTF-8; convert it.") }
        if prompt.isEmpty { throw ValidationError("--prompt is empty; give at least one character to go on from.") }
    }

    func run() throws {
        try ComputeThread.enter()
        let trained = try TextModel(checkpoint: checkpoint)
        guard let vocabulary = trained.vocabulary else {
            throw UsageError("\(trained.path) is a model of tokens, and what they spell is not in it: only models of characters can write")
        }
        let (model, configuration) = (trained.model, trained.configuration)

        var window = try vocabulary.encode(prompt)
        printOutput(prompt, terminator: "")
        let tape = Tape(parameters: trained.arena)
        var sampler = Sampler(temperature: temperature, topK: topK, seed: seed)
        for _ in 0..<tokens {
            window = window.suffix(configuration.context)
            tape.begin(.inference)
            let logits = model(tape.indices(window, [1, window.count])).values
            let next = Int32(sampler.draw(logits.suffix(configuration.vocabulary).map(Double.init)))
            window.append(next)
            printOutput(vocabulary.decode([next]), terminator: "")
        }
        printOutput("")
    }
}

/// Draws from a softmax: the same draws for the same seed, on every CPU.
struct Sampler {
    let temperature: Double
    let topK: Int
    private var state: UInt64

    init(temperature: Double, topK: Int, seed: UInt64) {
        self.temperature = temperature
        self.topK = topK
        state = seed
    }

    mutating func draw(_ logits: [Double]) -> Int {
        let best = logits.indices.max { logits[$0] < logits[$1] }!
        guard temperature > 0 else { return best }
        let least = topK > 0 && topK < logits.count ? logits.sorted(by: >)[topK - 1] : -.infinity
        let weights = logits.map { $0 < least ? 0 : PortableMath.exponential(($0 - logits[best]) / temperature) }
        var rest = uniform() * weights.reduce(0, +)
        for (index, weight) in weights.enumerated() {
            rest -= weight
            if rest < 0 { return index }
        }
        return best
    }

    /// In 0 ..< 1, by SplitMix64.
    private mutating func uniform() -> Double {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return Double((mixed ^ (mixed >> 31)) >> 11) * 0x1p-53
    }
}
