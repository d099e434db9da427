import ArgumentParser
import Lockstep
import Processes

/// `lockstep export`.
struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Writes a text model for Hugging Face's transformers: GPT2LMHeadModel loads it.",
        discussion: """
            The directory gets config.json and model.safetensors, in float32. Biases that the model does without are zeros there. \
            There is no tokenizer in it: the model's tokens are the numbers that it was trained on.
            """)

    @Option(help: "A run's --out directory, or one of its checkpoints.")
    var checkpoint: String

    @Option(help: "The directory to write, which must not have a model in it.")
    var out: String

    func validate() throws {
        for (path, flag) in [(checkpoint, "--checkpoint"), (out, "--out")] { try requirePath(path, flag) }
    }

    func run() throws {
        try ComputeThread.enter()
        let model = try TextModel(checkpoint: checkpoint)
        if let lack = try GPT2Directory.write(model.model, to: out) { printError(lack.description) }
        printOutput("\(model.path) -> \(out): \(model.arena.elementCount) parameters")
    }
}
