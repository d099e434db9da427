import Lockstep

/// Predicts the next character with a GPT.
struct TextTask {
    let text: CharacterText
    let configuration: GPT.Configuration

    func run(_ options: TrainingOptions, _ defaults: TaskDefaults, _ ring: Ring) throws {
        let recipe = try defaults.recipe(options, sampleCount: text.training.count)
        let optimizer = try defaults.optimizer(options)
        try requireMemory(forParameters: configuration.parameterCount)
        let model = GPT(configuration)
        func loss(_ batch: TextBatch, _ tape: Tape) -> Loss {
            softmaxCrossEntropy(
                model(tape.indices(batch.tokens, [batch.count, batch.context])),
                tape.indices(batch.targets, [batch.count, batch.context]))
        }
        let trainer = try Trainer(
            model: model, data: text.training, optimizer: optimizer, recipe: recipe, ring: ring, loss: loss)
        var description = recipe.description(optimizer: optimizer)
        description["task"] = "text"
        description["model"] = configuration.recipe
        description["vocabulary"] = .array(text.vocabulary.characters.map { .string($0) })
        description["data_crc32"] = .integer(Int(text.checksum))
        description["threads_per_worker"] = .integer(options.threadsPerWorker)
        let run = TaskRun(
            options: options, ring: ring, trainer: trainer, validation: text.validation,
            score: { batch, tape in Score(loss: loss(batch, tape)) },
            recipe: description, items: "tokens", validationName: "validation")
        try run.run()
    }
}

extension GPT.Configuration {
    /// About so many, whatever the numbers: a Double does not overflow.
    var parameterCount: Double {
        let width = Double(embedding)
        return width * (Double(vocabulary) + Double(context)) + Double(layers) * 12 * width * width
    }

    /// How a checkpoint's recipe keeps it.
    var recipe: JSONValue {
        [
            "kind": "gpt", "vocabulary": .integer(vocabulary), "context": .integer(context), "layers": .integer(layers),
            "heads": .integer(heads), "embedding": .integer(embedding), "dropout": .double(Double(dropout)), "bias": .bool(bias),
            "tied_head": .bool(tiedHead), "gelu": .string(gelu.rawValue),
        ]
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
    }
}
