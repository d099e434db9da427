import Lockstep
import Processes

/// Predicts the next character, or the next token, with a GPT.
struct TextTask {
    let training: TokenWindows
    let validation: TokenWindows
    /// What tells these data from others, by the recipe's keys: checksums, and the vocabulary where it comes from the text.
    let data: [String: JSONValue]
    let configuration: GPT.Configuration
    /// The weights to begin with; nil for drawn ones.
    private let initial: GPT2Directory?

    /// Characters of a text.
    init(text: CharacterText, configuration: GPT.Configuration) {
        training = text.training
        validation = text.validation
        data = [
            "vocabulary": .array(text.vocabulary.characters.map { .string($0) }), "data_crc32": .integer(Int(text.checksum)),
        ]
        self.configuration = configuration
        initial = nil
    }

    /// Tokens in files.
    init(tokens: TokenText, configuration: GPT.Configuration, initial: GPT2Directory? = nil) {
        training = tokens.training
        validation = tokens.validation
        data = ["token_files_crc32": .array(tokens.checksums.map { .integer(Int($0)) })]
        self.configuration = configuration
        self.initial = initial
    }

    /// - Parameter recomputesBlocks: see `GPT.recomputesBlocks`; no bits depend on it.
    func run(_ options: TrainingOptions, _ defaults: TaskDefaults, _ ring: Ring, recomputesBlocks: Bool) throws {
        // Whatever is wrong is told once, and not by each rank.
        let (recipe, optimizer) = try ring.together("planning the run") {
            let recipe = try defaults.recipe(options, sampleCount: training.count)
            let optimizer = try defaults.optimizer(options)
            var need = MemoryNeed.training(parameters: configuration.parameterCount, options, optimizer, ring)
            need.gradientBytes = 4 * configuration.gradientCount
            need.activationBytes = 4 * configuration.activationCount(
                samples: recipe.microBatch, context: training.context, recomputesBlocks: recomputesBlocks)
            try requireMemory(need)
            return (recipe, optimizer)
        }
        let model = GPT(configuration, recomputesBlocks: recomputesBlocks)
        func loss(_ batch: TextBatch, _ tape: Tape) -> Loss {
            softmaxCrossEntropy(
                model(tape.indices(batch.tokens, [batch.count, batch.context])),
                tape.indices(batch.targets, [batch.count, batch.context]))
        }
        if ring.isFirst, let initial { for note in initial.notes { printError(note) } }
        let trainer = try Trainer(
            model: model, data: training, optimizer: optimizer, recipe: recipe, ring: ring, loss: loss)
        var description = recipe.description(optimizer: optimizer).merging(data) { _, new in new }
        description["task"] = "text"
        description["model"] = configuration.recipe
        if let initial {
            try ring.together("reading the weights") { try initial.load(into: model) }
            description["initial_weights_sha256"] = .string(trainer.weightsDigest.hex)
        }
        let run = TaskRun(
            options: options, ring: ring, trainer: trainer, validation: validation,
            score: { batch, tape in Score(loss: loss(batch, tape)) },
            recipe: description, items: "tokens", validationName: "validation")
        try run.run()
    }
}

extension GPT.Configuration {
    /// About so many, whatever the numbers: a Double does not overflow.
    var parameterCount: Double {
        let width = Double(embedding)
        let inner = feedForward.map(Double.init) ?? 4 * width
        return width * (Double(vocabulary) + Double(context)) + Double(layers) * width * (4 * width + 2 * inner)
    }

    /// Floats of the gradients that a backward pass has at hand: all through it that of a table which is the head, too,
    /// and one other.
    var gradientCount: Double {
        let width = Double(embedding)
        let (table, block) = (Double(vocabulary) * width, width * (feedForward.map(Double.init) ?? 4 * width))
        return tiedHead ? table + block : max(table, block)
    }

    /// Floats that a training pass keeps for its backward pass, about: for each position, in each block, 8 rows as wide as the model
    /// (what went through its two normalisations, queries, keys and values, attention's result and both residual sums) and 2 of the
    /// feed-forward layers; at the end, the logits, whose place their gradient takes.
    func activationCount(samples: Int, context: Int, recomputesBlocks: Bool) -> Double {
        let width = Double(embedding)
        let block = 8 * width + 2 * (feedForward.map(Double.init) ?? 4 * width)
        let blocks = recomputesBlocks ? Double(layers) * width + block : Double(layers) * block
        return Double(samples) * Double(context) * (blocks + Double(vocabulary) + width)
    }

    /// How a checkpoint's recipe keeps it; what is as usual is not mentioned.
    var recipe: JSONValue {
        var members: [String: JSONValue] = [
            "kind": "gpt", "vocabulary": .integer(vocabulary), "context": .integer(context), "layers": .integer(layers),
            "heads": .integer(heads), "embedding": .integer(embedding), "dropout": .double(Double(dropout)), "bias": .bool(bias),
            "tied_head": .bool(tiedHead), "gelu": .string(gelu.rawValue),
        ]
        if let feedForward { members["feed_forward"] = .integer(feedForward) }
        if normEpsilon != 1e-5 { members["norm_epsilon"] = .double(Double(normEpsilon)) }
        return .object(members)
    }

    /// The configuration in a checkpoint's recipe; nil if it is of something else.
    init?(recipe: JSONValue) {
        guard recipe["kind"]?.string == "gpt", let vocabulary = recipe["vocabulary"]?.integer,
            let context = recipe["context"]?.integer, let layers = recipe["layers"]?.integer,
            let heads = recipe["heads"]?.integer, let embedding = recipe["embedding"]?.integer,
            let bias = recipe["bias"]?.bool, let tiedHead = recipe["tied_head"]?.bool,
            let gelu = recipe["gelu"]?.string.flatMap(GELU.Kind.init(rawValue:)),
            [vocabulary, context, layers, heads, embedding].allSatisfy({ $0 >= 1 && $0 < 1 << 24 }), embedding % heads == 0
        else { return nil }
        self.init(
            vocabulary: vocabulary, context: context, layers: layers, heads: heads, embedding: embedding, bias: bias,
            tiedHead: tiedHead, gelu: gelu)
        if let inner = recipe["feed_forward"] {
            guard let inner = inner.integer, inner >= 1, inner < 1 << 24 else { return nil }
            feedForward = inner
        }
        if let epsilon = recipe["norm_epsilon"] {
            guard let epsilon = epsilon.double, epsilon >= 0, epsilon < 1 else { return nil }
            normEpsilon = Float(epsilon)
        }
    }
}
