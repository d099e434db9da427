import ArgumentParser
import Lockstep

/// `lockstep train digits|mnist|cifar10|text`.
struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train", abstract: "Trains a built-in task on this host, or as one worker of a job.",
        discussion: """
            lockstep train digits -n 4
            lockstep train mnist --data DIR -n 4 --model cnn
            lockstep train cifar10 --data DIR -n 4 --blocks 3
            lockstep train text --data FILE -n 2 --steps 2000 --out RUN --checkpoint-every 500
            lockstep train text --data FILE -n 3 --steps 4000 --out RUN --resume

            On several hosts, on each: RANK=0 WORLD_SIZE=2 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 LOCKSTEP_SECRET=... \
            lockstep train digits
            """,
        subcommands: [TrainDigits.self, TrainMNIST.self, TrainCIFAR10.self, TrainText.self])
}

struct TrainText: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "text", abstract: "A GPT on any text, character by character; the last 10 % is for validation.")

    @Option(help: "A text file in UTF-8.")
    var data: String

    @Option(help: "Transformer blocks.")
    var layers = 4

    @Option(help: "Attention heads; must divide --embedding.")
    var heads = 4

    @Option(help: "Width of the model.")
    var embedding = 128

    @Option(help: "Characters that the model sees at once.")
    var context = 64

    @OptionGroup var options: TrainingOptions

    func validate() throws {
        for (value, flag) in [(layers, "--layers"), (heads, "--heads"), (embedding, "--embedding"), (context, "--context")]
        where value < 1 {
            throw ValidationError("\(flag) is \(value), which must be at least 1.")
        }
        guard embedding % heads == 0 else {
            throw ValidationError("--heads is \(heads), which must divide --embedding, which is \(embedding).")
        }
    }

    func run() throws {
        // nanoGPT's recipe for characters on a CPU, with twice its learning rate, which is better here.
        let defaults = TaskDefaults(
            length: .steps(2000), globalBatch: 12, microBatch: 12, learningRate: 2e-3, optimizer: .adamw, weightDecay: 0.1,
            betas: (0.9, 0.99), warmupSteps: 100, decay: .cosine, minLearningRate: 1e-4, clipNorm: 1)
        try asWorker(workers: options.workers, threadsPerWorker: options.threadsPerWorker) { ring in
            let text = try CharacterText(file: data, context: context, seed: options.seed)
            let configuration = GPT.Configuration(
                vocabulary: text.vocabulary.count, context: context, layers: layers, heads: heads, embedding: embedding,
                dropout: options.dropout ?? defaults.dropout)
            try TextTask(text: text, configuration: configuration).run(options, defaults, ring)
        }
    }
}
