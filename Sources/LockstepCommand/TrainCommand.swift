import ArgumentParser
import Lockstep

/// `lockstep train digits|mnist|text`.
struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train", abstract: "Trains a built-in task on this host, or as one worker of a job.",
        discussion: """
              lockstep train digits -n 4
              lockstep train mnist --data DIR -n 4 --hidden 128
              lockstep train text --data FILE -n 2 --out RUN --checkpoint-every 500
              lockstep train text --data FILE -n 3 --out RUN --resume

            On several hosts, on each with its own RANK and the same LOCKSTEP_SECRET:

              export RANK=0 WORLD_SIZE=2 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500
              lockstep train digits
            """,
        subcommands: [TrainDigits.self, TrainMNIST.self, TrainText.self])
}

struct TrainDigits: ParsableCommand {
    static let defaults = TaskDefaults(
        length: .epochs(60), globalBatch: 64, microBatch: 8, learningRate: 0.1, optimizer: .sgd, decay: .cosine, dropout: 0.4)

    static let configuration = CommandConfiguration(
        commandName: "digits", abstract: "Handwritten digits, 8x8, embedded in this program: no data needed.",
        discussion: "Unless given: \(defaults.flags) --hidden 256")

    @OptionGroup var model: ImageModelOptions
    @OptionGroup var options: TrainingOptions

    func validate() throws {
        try Self.defaults.check(options)
    }

    func run() throws {
        try asWorker(workers: options.workers, threadsPerWorker: options.threadsPerWorker) { ring in
            let digits = Digits()
            let task = ImageTask(
                name: "digits", training: digits.training, test: digits.test, hidden: model.hidden?.sizes ?? [256])
            try task.run(options, Self.defaults, ring)
        }
    }
}

struct TrainMNIST: ParsableCommand {
    static let defaults = TaskDefaults(
        length: .epochs(10), globalBatch: 128, microBatch: 32, learningRate: 0.1, optimizer: .sgd, decay: .cosine)

    static let configuration = CommandConfiguration(
        commandName: "mnist", abstract: "Images in MNIST's IDX files, with or without .gz.",
        discussion: "Unless given: \(defaults.flags) --hidden 512,512")

    @Option(help: "Directory with train-images-idx3-ubyte and the other three files.")
    var data: String

    @OptionGroup var model: ImageModelOptions
    @OptionGroup var options: TrainingOptions

    func validate() throws {
        try requirePath(data, "--data")
        try Self.defaults.check(options)
    }

    func run() throws {
        try asWorker(workers: options.workers, threadsPerWorker: options.threadsPerWorker) { ring in
            let mnist = try ring.together("reading the data") { try MNIST(directory: data) }
            let task = ImageTask(
                name: "mnist", training: mnist.training, test: mnist.test, hidden: model.hidden?.sizes ?? [512, 512])
            try task.run(options, Self.defaults, ring)
        }
    }
}

struct TrainText: ParsableCommand {
    /// nanoGPT's recipe for characters on a CPU, with twice its learning rate, which is better here.
    static let defaults = TaskDefaults(
        length: .steps(2000), globalBatch: 12, microBatch: 12, learningRate: 2e-3, optimizer: .adamw, weightDecay: 0.1,
        betas: (0.9, 0.99), warmupSteps: 100, decay: .cosine, minLearningRate: 1e-4, clipNorm: 1)

    static let configuration = CommandConfiguration(
        commandName: "text", abstract: "A GPT on any text, character by character; the last 10 % is for validation.",
        discussion: "Unless given: \(defaults.flags)")

    @Option(help: "A text file in UTF-8.")
    var data: String

    @Option(parsing: .unconditional, help: "Transformer blocks.")
    var layers = 4

    @Option(parsing: .unconditional, help: "Attention heads; must divide --embedding.")
    var heads = 4

    @Option(parsing: .unconditional, help: "Width of the model.")
    var embedding = 128

    @Option(parsing: .unconditional, help: "Characters that the model sees at once.")
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
        try requirePath(data, "--data")
        try Self.defaults.check(options)
    }

    func run() throws {
        try asWorker(workers: options.workers, threadsPerWorker: options.threadsPerWorker) { ring in
            let text = try ring.together("reading the data") {
                try CharacterText(file: data, context: context, seed: options.seed)
            }
            let configuration = GPT.Configuration(
                vocabulary: text.vocabulary.count, context: context, layers: layers, heads: heads, embedding: embedding,
                dropout: options.dropout ?? Self.defaults.dropout)
            try TextTask(text: text, configuration: configuration).run(options, Self.defaults, ring)
        }
    }
}

/// An empty path is a shell variable that was not set.
private func requirePath(_ path: String, _ flag: String) throws {
    if path.isEmpty { throw ValidationError("\(flag) is empty; give a path.") }
}

struct ImageModelOptions: ParsableArguments {
    enum Kind: String, ExpressibleByArgument, CaseIterable {
        case mlp
    }

    struct Sizes: ExpressibleByArgument {
        let sizes: [Int]

        init?(argument: String) {
            let parts = argument.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
            let sizes = parts.compactMap { $0 }
            guard !sizes.isEmpty, sizes.count == parts.count, sizes.allSatisfy({ $0 >= 1 && $0 <= 1 << 20 }) else { return nil }
            self.sizes = sizes
        }
    }

    @Option(help: "mlp: layers of --hidden units with ReLU.")
    var model = Kind.mlp

    @Option(parsing: .unconditional, help: "Units of the hidden layers, as 512,512.")
    var hidden: Sizes?
}
