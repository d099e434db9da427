import Lockstep

/// A trained GPT, from one of Lockstep's checkpoints or a directory of Hugging Face's.
struct TextModel {
    let model: GPT
    let arena: ParameterArena
    /// Where it came from, for messages.
    let path: String
    /// The characters that its tokens are; nil for a model of tokens.
    let vocabulary: CharacterVocabulary?

    var configuration: GPT.Configuration { model.configuration }

    /// The newest whole checkpoint that `path` means. Damaged ones on the way to it are named on standard error.
    init(checkpoint path: String) throws {
        let (found, damaged) = try Checkpoint.find(path)
        for one in damaged { printError("\(one.error); an older checkpoint is taken") }
        let recipe = found.manifest.recipe
        guard let configuration = recipe["model"].flatMap(GPT.Configuration.init(recipe:)) else {
            throw UsageError("\(found.path) is not of a text model: `lockstep train text` makes one")
        }
        if let characters = recipe["vocabulary"]?.array?.compactMap(\.string) {
            let vocabulary = try CharacterVocabulary(characters: characters)
            guard vocabulary.count == configuration.vocabulary else {
                throw UsageError(
                    "\(found.path) has \(vocabulary.count) characters for a model of \(configuration.vocabulary): it was put together wrongly")
            }
            self.vocabulary = vocabulary
        } else {
            vocabulary = nil
        }
        try requireMemory(forParameters: configuration.parameterCount)
        let stored = try found.weights()
        model = GPT(configuration)
        // Compared before there is memory: a configuration's promise is not believed before the file keeps it.
        let expected = model.namedParameters().map { TensorInfo(name: $0.name, type: .float32, shape: $0.parameter.shape) }
        if let difference = stored.difference(from: expected) {
            throw UsageError("\(found.path)'s weights are not those of its model: \(difference)")
        }
        arena = ParameterArena(model, seed: 0)
        for parameter in arena.parameters {
            try stored.read(
                parameter.name, into: UnsafeMutableRawBufferPointer(start: parameter.values, count: parameter.count * 4))
        }
        self.path = found.path
    }

    init(huggingFace path: String) throws {
        let directory = try GPT2Directory(path)
        for note in directory.notes { printError(note) }
        try requireMemory(forParameters: directory.configuration.parameterCount)
        model = GPT(directory.configuration)
        arena = ParameterArena(model, seed: 0)
        try directory.load(into: model)
        self.path = path
        vocabulary = nil
    }
}
