import Checkpoints
import NeuralNetworks

/// config.json of a GPT-2 and `GPT.Configuration`, both ways.
enum GPT2Configuration {
    /// What transformers' GPT2Config has for a key that is not there is taken, as it does.
    static func read(_ path: String) throws(HuggingFaceError) -> GPT.Configuration {
        let json: JSONValue
        do {
            json = try JSONValue(file: path)
        } catch {
            if case .invalidJSON(let offset, let reason) = error {
                throw .configuration(path: path, reason: "not JSON at byte \(offset): \(reason)")
            }
            throw .file(error)
        }
        func fault(_ reason: String) -> HuggingFaceError { .configuration(path: path, reason: reason) }
        func present(_ key: String) -> JSONValue? { json[key] == .null ? nil : json[key] }
        func size(_ key: String, _ usual: Int, limit: Int = 1 << 24) throws(HuggingFaceError) -> Int {
            guard let value = present(key) else { return usual }
            guard let size = value.integer, size >= 1, size < limit else {
                throw fault("\(key) is \(value.serialized()), which should be 1 to \(limit - 1)")
            }
            return size
        }
        func flag(_ key: String, _ usual: Bool) throws(HuggingFaceError) -> Bool {
            guard let value = present(key) else { return usual }
            guard let flag = value.bool else { throw fault("\(key) is \(value.serialized()), which should be true or false") }
            return flag
        }
        guard json.object != nil else { throw fault("it is not an object") }
        let type = json["model_type"]?.string ?? "nothing"
        guard type == "gpt2" else { throw fault("model_type is \(type), and only gpt2 is read") }
        // Variants that compute something else.
        if try !flag("scale_attn_weights", true) { throw fault("scale_attn_weights is false, which is not supported") }
        for key in ["scale_attn_by_inverse_layer_idx", "add_cross_attention"] where try flag(key, false) {
            throw fault("\(key) is true, which is not supported")
        }
        let embedding = try size("n_embd", 768)
        let heads = try size("n_head", 12)
        guard embedding % heads == 0 else { throw fault("n_head is \(heads), which does not divide n_embd, \(embedding)") }
        var configuration = GPT.Configuration(
            vocabulary: try size("vocab_size", 50257), context: try size("n_positions", 1024),
            layers: try size("n_layer", 12, limit: 10_000), heads: heads, embedding: embedding, bias: true,
            tiedHead: try flag("tie_word_embeddings", true), gelu: .tanh)
        let inner = try size("n_inner", 4 * embedding)
        configuration.feedForward = inner == 4 * embedding ? nil : inner
        let epsilon = present("layer_norm_epsilon") ?? 1e-5
        guard let number = epsilon.double, number >= 0, number < 1 else {
            throw fault("layer_norm_epsilon is \(epsilon.serialized()), which should be a small number")
        }
        configuration.normEpsilon = Float(number)
        let activation = json["activation_function"]?.string ?? "gelu_new"
        switch activation {
        // Three spellings of the same approximation.
        case "gelu_new", "gelu_pytorch_tanh", "gelu_fast": configuration.gelu = .tanh
        case "gelu": configuration.gelu = .exact
        default: throw fault("activation_function is \(activation), and only gelu_new and gelu are read")
        }
        return configuration
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
