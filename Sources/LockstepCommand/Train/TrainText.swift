import ArgumentParser
import Lockstep

struct TrainText: ParsableCommand {
    /// nanoGPT's recipe for characters on a CPU, with twice its learning rate, which is better here.
    static let defaults = TaskDefaults(
        length: .steps(2000), globalBatch: 12, microBatch: 12, learningRate: 2e-3, optimizer: .adamw, weightDecay: 0.1,
        betas: (0.9, 0.99), warmupSteps: 100, decay: .cosine, minLearningRate: 1e-4, clipNorm: 1)

    /// The same for a model that knows something already, which it would forget at that rate.
    static let tuning: TaskDefaults = {
        var tuning = defaults
        (tuning.learningRate, tuning.minLearningRate) = (1e-4, 1e-5)
        return tuning
    }()

    static let configuration = CommandConfiguration(
        commandName: "text",
        abstract: "A GPT on any text, character by character, or on token files; the last 10 % is for validation.",
        discussion: """
            A FILE whose name ends in .bin holds tokens of 16 bits: nanoGPT's train.bin, or llm.c's with its header. It is not read \
            into memory and may be of any size. Any other file is UTF-8 text, and its characters are the tokens.

            Unless given: \(defaults.flags); with --init --learning-rate 1e-4 --min-learning-rate 1e-5
            """)

    @Option(help: "A text file in UTF-8, or a .bin file of tokens.")
    var data: String

    @Option(help: "A .bin file of tokens for validation, instead of the last 10 % of --data.")
    var validation: String?

    @Option(parsing: .unconditional, help: "Tokens of a .bin file are less than this; GPT-2's 50257 unless given.")
    var vocabularySize: Int?

    @Option(name: .customLong("init"), help: "Begin with a GPT-2 in a directory of Hugging Face's transformers; for .bin files.")
    var initial: String?

    @Option(parsing: .unconditional, help: "Transformer blocks; 4 unless given.")
    var layers: Int?

    @Option(parsing: .unconditional, help: "Attention heads; must divide --embedding; 4 unless given.")
    var heads: Int?

    @Option(parsing: .unconditional, help: "Width of the model; 128 unless given.")
    var embedding: Int?

    @Option(parsing: .unconditional, help: "Characters or tokens that the model sees at once; 64 unless given, or what the model of --init sees.")
    var context: Int?

    @Flag(help: "Keep what goes into each block and compute the rest again: the same bits, less memory, a third more time.")
    var checkpointActivations = false

    @OptionGroup var options: TrainingOptions

    private static let usual = GPT.Configuration(vocabulary: 1, context: 64, layers: 4, heads: 4, embedding: 128)

    func validate() throws {
        for (value, flag) in [(layers, "--layers"), (heads, "--heads"), (embedding, "--embedding"), (context, "--context")] {
            if let value, value < 1 { throw ValidationError("\(flag) is \(value), which must be at least 1.") }
        }
        let (width, heads) = (embedding ?? Self.usual.embedding, heads ?? Self.usual.heads)
        guard width % heads == 0 else {
            throw ValidationError("--heads is \(heads), which must divide --embedding, which is \(width).")
        }
        for (path, flag) in [(data, "--data"), (validation, "--validation"), (initial, "--init")] { try requirePath(path, flag) }
        try defaults.check(options)
        try options.keepApart(from: [(data, "--data"), (validation, "--validation")])
        try TokenData.validate(data: data, validation: validation, vocabularySize: vocabularySize)
        guard initial != nil else { return }
        guard TokenData.isTokens(data) else {
            throw ValidationError("--init goes with a --data of the model's tokens: a .bin file.")
        }
        for (isGiven, flag) in [
            (layers != nil, "--layers"), (self.heads != nil, "--heads"), (embedding != nil, "--embedding"),
            (vocabularySize != nil, "--vocabulary-size"),
        ] where isGiven {
            throw ValidationError("\(flag) and --init exclude each other: the directory says what model it is.")
        }
    }

    private var defaults: TaskDefaults { initial == nil ? Self.defaults : Self.tuning }

    func run() throws {
        try asTrainer(options) { ring in
            try ring.together("reading the data") { try task() }
                .run(options, defaults, ring, recomputesBlocks: checkpointActivations)
        }
    }

    private func task() throws -> TextTask {
        var configuration = Self.usual
        let pretrained = try initial.map { path throws in try GPT2Directory(path) }
        if let pretrained {
            configuration = pretrained.configuration
            if let context, context > configuration.context {
                throw UsageError("--context is \(context), and the model in \(pretrained.path) sees \(configuration.context) at once")
            }
        } else {
            configuration.layers = layers ?? configuration.layers
            configuration.heads = heads ?? configuration.heads
            configuration.embedding = embedding ?? configuration.embedding
            configuration.context = context ?? configuration.context
        }
        configuration.dropout = options.dropout ?? defaults.dropout
        let context = context ?? configuration.context
        guard TokenData.isTokens(data) else {
            let text = try CharacterText(file: data, context: context, seed: options.seed)
            configuration.vocabulary = text.vocabulary.count
            return TextTask(text: text, configuration: configuration)
        }
        if pretrained == nil { configuration.vocabulary = vocabularySize ?? TokenData.usualVocabulary }
        let tokens = try TokenText(
            file: data, validation: validation, vocabulary: min(configuration.vocabulary, TokenFile.maximumVocabulary),
            context: context, seed: options.seed)
        return TextTask(tokens: tokens, configuration: configuration, initial: pretrained)
    }
}

/// Which files are tokens, and what goes with them.
enum TokenData {
    /// GPT-2's.
    static let usualVocabulary = 50257

    static func isTokens(_ path: String) -> Bool { path.hasSuffix(".bin") }

    static func validate(data: String, validation: String?, vocabularySize: Int?) throws {
        if let vocabularySize, !(1...TokenFile.maximumVocabulary).contains(vocabularySize) {
            throw ValidationError(
                "--vocabulary-size is \(vocabularySize), which must be 1 to \(TokenFile.maximumVocabulary): tokens have 16 bits.")
        }
        if let validation, !isTokens(validation) {
            throw ValidationError("--validation is \(validation), which must be a .bin file of tokens.")
        }
        guard !isTokens(data) else { return }
        if validation != nil { throw ValidationError("--validation goes with a --data of tokens: a .bin file.") }
        if vocabularySize != nil {
            throw ValidationError("--vocabulary-size goes with a --data of tokens: a .bin file; a text has its own vocabulary.")
        }
    }
}
