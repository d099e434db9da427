import ArgumentParser
import Glibc
import Lockstep
import Processes

/// `lockstep eval`.
struct EvalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval", abstract: "The mean loss a token of a text model, over consecutive windows of a file.",
        usage: "lockstep eval --checkpoint <run>|--init <dir> --data <file> [<options>]",
        discussion: """
            lockstep eval --checkpoint RUN --data FILE
            lockstep eval --init DIR --data val.bin --context 1024

            Window i begins at token i T and predicts the T tokens after its own; what is left at the end does not count.
            """)

    @Option(name: .customLong("init"), help: "A directory of Hugging Face's transformers with a GPT-2.")
    var initial: String?

    @Option(help: "A run's --out directory, or one of its checkpoints.")
    var checkpoint: String?

    @Option(help: "A .bin file of tokens; for a model of characters, a text file in UTF-8.")
    var data: String

    @Option(parsing: .unconditional, help: "Tokens in a window; the model's context unless given.")
    var context: Int?

    @Option(parsing: .unconditional, help: "Windows in one forward pass.")
    var microBatchSize = 8

    @Option(parsing: .unconditional, help: "Threads to compute with; the bits are the same.")
    var threadsPerWorker = 1

    func validate() throws {
        for (path, flag) in [(initial, "--init"), (checkpoint, "--checkpoint"), (data, "--data")] { try requirePath(path, flag) }
        guard (initial == nil) != (checkpoint == nil) else {
            throw ValidationError("give one of --checkpoint, for a run of Lockstep, and --init, for a directory of Hugging Face's.")
        }
        if threadsPerWorker > 256 { throw ValidationError("--threads-per-worker is \(threadsPerWorker), which must be at most 256.") }
        for (value, flag) in [(context ?? 1, "--context"), (microBatchSize, "--micro-batch-size"), (threadsPerWorker, "--threads-per-worker")]
        where value < 1 {
            throw ValidationError("\(flag) is \(value), which must be at least 1.")
        }
    }

    func run() throws {
        try ComputeThread.enter()
        try setThreadsPerWorker(threadsPerWorker)
        let model = if let initial { try TextModel(huggingFace: initial) } else { try TextModel(checkpoint: checkpoint!) }
        let longest = model.configuration.context
        let context = context ?? longest
        guard context <= longest else {
            throw UsageError("--context is \(context), and the model in \(model.path) sees \(longest) at once")
        }
        let windows = try self.windows(of: model, context: context)
        let (loss, tokens) = try evaluate(model, windows)
        printOutput(
            "loss \(loss.rounded(places: 6))  perplexity \(exp(loss).rounded(places: 4))  "
                + "\(count(tokens, "token")) in \(count(windows.count, "window")) of \(context)")
    }

    private func windows(of model: TextModel, context: Int) throws -> TokenWindows {
        if let vocabulary = model.vocabulary {
            if TokenData.isTokens(data) { throw UsageError("\(model.path) is a model of characters: --data must be a text") }
            return try TokenWindows(text: data, vocabulary: vocabulary, context: context)
        }
        guard TokenData.isTokens(data) else {
            throw UsageError("\(model.path) is a model of tokens: --data must be a .bin file of them")
        }
        let vocabulary = min(model.configuration.vocabulary, TokenFile.maximumVocabulary)
        return try TokenFile(data, vocabulary: vocabulary).windows(context: context)
    }

    private func evaluate(_ model: TextModel, _ windows: TokenWindows) throws -> (loss: Double, tokens: Int) {
        let tape = Tape(parameters: model.arena)
        var (sum, weight) = (0.0, 0.0)
        for first in stride(from: 0, to: windows.count, by: microBatchSize) {
            let batch = try windows.batch(epoch: 0, Array(first..<min(first + microBatchSize, windows.count)))
            tape.begin(.inference)
            let shape = [batch.count, batch.context]
            let loss = softmaxCrossEntropy(model.model(tape.indices(batch.tokens, shape)), tape.indices(batch.targets, shape))
            sum += Double(loss.sum.item)
            weight += loss.weight
        }
        return (sum / weight, Int(weight))
    }
}
