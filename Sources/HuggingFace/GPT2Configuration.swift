import Checkpoints
import NeuralNetworks

/// config.json of a GPT-2 and `GPT.Configuration`, both ways.
enum GPT2Configuration {
    /// The other name that transformers reads some settings by (`attribute_map` of its GPT2Config).
    private static let aliases = [
        "n_embd": "hidden_size", "n_positions": "max_position_embeddings", "n_head": "num_attention_heads", "n_layer": "num_hidden_layers",
    ]

    /// What transformers' GPT2Config has for a key that is not there is taken, as it does, and told.
    ///
    /// - Returns: the configuration, and in one line what is assumed in it, if anything that no tensor's shape could contradict.
    static func read(_ path: String) throws(HuggingFaceError) -> (configuration: GPT.Configuration, assumed: String?) {
        let json: JSONValue
        do {
            json = try JSONValue(file: path)
        } catch {
            if case .invalidJSON(let offset, let reason) = error {
                throw .configuration(path: path, reason: "not JSON at byte \(offset): \(reason)")
            }
            throw .file(error)
        }
        var settings = Settings(json: json, path: path)
        guard json.object != nil else { throw settings.fault("it is not an object") }
        let type = json["model_type"]?.string ?? "nothing"
        guard type == "gpt2" else { throw settings.fault("model_type is \(type), and only gpt2 is read") }
        // Variants that compute something else.
        if try !settings.flag("scale_attn_weights", true) { throw settings.fault("scale_attn_weights is false, which is not supported") }
        for key in ["scale_attn_by_inverse_layer_idx", "add_cross_attention"] where try settings.flag(key, false) {
            throw settings.fault("\(key) is true, which is not supported")
        }
        let embedding = try settings.size("n_embd", 768)
        let heads = try settings.size("n_head", 12)
        guard embedding % heads == 0 else {
            throw settings.fault("n_head is \(heads), which does not divide n_embd, \(embedding)")
        }
        var configuration = GPT.Configuration(
            vocabulary: try settings.size("vocab_size", 50257), context: try settings.size("n_positions", 1024),
            layers: try settings.size("n_layer", 12, limit: 10_000), heads: heads, embedding: embedding, bias: true,
            tiedHead: try settings.flag("tie_word_embeddings", true), gelu: .tanh)
        let inner = json["n_inner"] ?? .null
        configuration.feedForward = inner == .null ? nil : try settings.size("n_inner", 4 * embedding)
        if configuration.feedForward == 4 * embedding { configuration.feedForward = nil }
        let epsilon = try settings.value("layer_norm_epsilon") ?? settings.assume("layer_norm_epsilon", 1e-5)
        guard let number = epsilon.double, number >= 0, number < 1 else {
            throw settings.fault("layer_norm_epsilon is \(epsilon.serialized()), which should be a small number")
        }
        configuration.normEpsilon = Float(number)
        let activation = try settings.value("activation_function") ?? settings.assume("activation_function", "gelu_new")
        switch activation.string {
        // Three spellings of the same approximation.
        case "gelu_new", "gelu_pytorch_tanh", "gelu_fast": configuration.gelu = .tanh
        case "gelu": configuration.gelu = .exact
        default:
            let name = activation.string ?? activation.serialized()
            throw settings.fault("activation_function is \(name), and only gelu_new and gelu are read")
        }
        guard !settings.assumed.isEmpty else { return (configuration, nil) }
        return (configuration, "\(path) does not say all; taken as transformers does: \(settings.assumed.joined(separator: ", "))")
    }

    /// The members of config.json, and what is taken for those that are not there.
    private struct Settings {
        let json: JSONValue
        let path: String
        private(set) var assumed: [String] = []

        init(json: JSONValue, path: String) {
            self.json = json
            self.path = path
        }

        func fault(_ reason: String) -> HuggingFaceError { .configuration(path: path, reason: reason) }

        /// A setting under either of its names, which must not contradict each other; nil if it has none.
        func value(_ key: String) throws(HuggingFaceError) -> JSONValue? {
            guard let alias = aliases[key], let other = json[alias] else { return json[key] }
            if let own = json[key], own != other {
                throw fault("\(key) is \(own.serialized()) and \(alias), another name of it, is \(other.serialized()): correct one of them")
            }
            return other
        }

        mutating func assume(_ key: String, _ usual: JSONValue) -> JSONValue {
            assumed.append("\(key) \(usual.string ?? usual.serialized())")
            return usual
        }

        mutating func size(_ key: String, _ usual: Int, limit: Int = 1 << 24) throws(HuggingFaceError) -> Int {
            let value = try value(key) ?? assume(key, .integer(usual))
            guard let size = value.integer, size >= 1, size < limit else {
                throw fault("\(key) is \(value.serialized()), which should be 1 to \(limit - 1)")
            }
            return size
        }

        /// These are left out by everybody where they are as usual.
        func flag(_ key: String, _ usual: Bool) throws(HuggingFaceError) -> Bool {
            guard let value = json[key] else { return usual }
            guard let flag = value.bool else { throw fault("\(key) is \(value.serialized()), which should be true or false") }
            return flag
        }
    }

    static func json(_ configuration: GPT.Configuration) -> JSONValue {
        // GPT-2's end of text, where the vocabulary has it.
        let endOfText: JSONValue = configuration.vocabulary > 50256 ? 50256 : .null
        // Through the shortest text, so that 1e-5 is not written with the digits of the nearest float.
        let epsilon = Double("\(configuration.normEpsilon)")!
        return [
            "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": .integer(configuration.vocabulary),
            "n_positions": .integer(configuration.context), "n_embd": .integer(configuration.embedding),
            "n_layer": .integer(configuration.layers), "n_head": .integer(configuration.heads),
            "n_inner": configuration.feedForward.map { .integer($0) } ?? .null,
            "activation_function": configuration.gelu == .tanh ? "gelu_new" : "gelu",
            "layer_norm_epsilon": .double(epsilon), "tie_word_embeddings": .bool(configuration.tiedHead),
            "embd_pdrop": .double(Double(configuration.dropout)), "attn_pdrop": .double(Double(configuration.dropout)),
            "resid_pdrop": .double(Double(configuration.dropout)), "bos_token_id": endOfText, "eos_token_id": endOfText,
            "torch_dtype": "float32",
        ]
    }
}
