import Checkpoints
import Glibc
import HuggingFace
import NeuralNetworks
import Tensors
import Testing

/// GPT-2s that transformers saved, and those that it is to load.
@Suite struct GPT2DirectoryTests {
    private let directory = Folder()

    private static let cases: [(name: String, files: [(String, [UInt8])], golden: [Float])] = [
        (
            "tied", [("config.json", PackageResources.tied_config_json), ("model.safetensors", PackageResources.tied_safetensors)],
            Golden.tied
        ),
        (
            "untied",
            [("config.json", PackageResources.untied_config_json), ("model.safetensors", PackageResources.untied_safetensors)],
            Golden.untied
        ),
        (
            "sharded",
            [
                ("config.json", PackageResources.sharded_config_json),
                ("model.safetensors.index.json", PackageResources.sharded_index_json),
                ("model-00001-of-00002.safetensors", PackageResources.sharded1_safetensors),
                ("model-00002-of-00002.safetensors", PackageResources.sharded2_safetensors),
            ], Golden.sharded
        ),
    ]

    private func load(_ path: String) throws -> (model: GPT, arena: ParameterArena) {
        let found = try GPT2Directory(path)
        let model = GPT(found.configuration)
        let arena = ParameterArena(model, seed: 1)
        try found.load(into: model)
        return (model, arena)
    }

    /// Of the tokens that the script takes.
    private func logits(_ model: GPT, _ arena: ParameterArena) -> [Float] {
        let tape = Tape(parameters: arena)
        tape.begin(.inference)
        let length = model.configuration.context
        let tokens = (0..<2 * length).map { Int32((7 * $0 + 3) % model.configuration.vocabulary) }
        return model(tape.indices(tokens, [2, length])).array
    }

    private func expectClose(_ got: [Float], _ expected: [Float], within tolerance: Float) {
        #expect(got.count == expected.count)
        for (a, b) in zip(got, expected) { #expect(abs(a - b) < tolerance, "\(a), expected \(b)") }
    }

    @Test(arguments: cases.indices) func logitsAreThoseOfTransformers(index: Int) throws {
        let (_, files, golden) = Self.cases[index]
        for (name, bytes) in files { directory.write(name, bytes) }
        let (model, arena) = try load(directory.path)
        expectClose(logits(model, arena), golden, within: 1e-4)
    }

    @Test func configurationsAreRead() throws {
        for (name, bytes) in Self.cases[1].files { directory.write(name, bytes) }
        var expected = GPT.Configuration(
            vocabulary: 11, context: 5, layers: 1, heads: 1, embedding: 8, bias: true, tiedHead: false, gelu: .exact)
        expected.feedForward = 5
        expected.normEpsilon = 1e-3
        #expect(try GPT2Directory(directory.path).configuration == expected)
    }

    /// Written and read again: the same logits, with the biases that were not there as zeros.
    @Test(arguments: [false, true], [false, true]) func roundTrips(bias: Bool, tied: Bool) throws {
        var configuration = GPT.Configuration(
            vocabulary: 17, context: 9, layers: 2, heads: 2, embedding: 12, bias: bias, tiedHead: tied, gelu: bias ? .tanh : .exact)
        if bias {
            configuration.feedForward = 20
            configuration.normEpsilon = 1e-4
        }
        let model = GPT(configuration)
        let arena = ParameterArena(model, seed: 5)
        for (index, value) in arena.values.enumerated() { arena.values[index] = value + Float(index % 7) / 50 }
        let path = "\(directory.path)/deep/export"
        try GPT2Directory.write(model, to: path)
        let (again, memory) = try load(path)
        configuration.bias = true
        #expect(again.configuration == configuration)
        expectClose(logits(again, memory), logits(model, arena), within: 1e-6)
        #expect(throws: HuggingFaceError.occupied(path: "\(path)/config.json")) { try GPT2Directory.write(model, to: path) }
    }

    // MARK: Faults

    private func fault() -> HuggingFaceError? {
        do {
            _ = try GPT2Directory(directory.path)
            return nil
        } catch {
            return error
        }
    }

    private static func configuration(_ change: [String: JSONValue]) -> [UInt8] {
        let usual = (try? JSONValue(parsing: PackageResources.tied_config_json))?.object ?? [:]
        if usual.isEmpty { Issue.record("tied.config.json is no JSON object") }
        return Array(JSONValue.object(usual.merging(change) { _, new in new }).serialized().utf8)
    }

    static let wrongSettings: [(change: [String: JSONValue], says: String)] = [
        (["model_type": "llama"], "model_type is llama"), (["n_head": 4], "n_head is 4"), (["n_embd": 0], "n_embd is 0"),
        (["n_embd": "6"], "n_embd"), (["n_layer": 16_777_216], "n_layer is 16777216"), (["n_inner": -1], "n_inner is -1"),
        (["activation_function": "relu"], "relu"), (["scale_attn_weights": false], "scale_attn_weights"),
        (["scale_attn_by_inverse_layer_idx": true], "scale_attn_by_inverse_layer_idx"),
        (["layer_norm_epsilon": -1], "layer_norm_epsilon"), (["tie_word_embeddings": 1], "tie_word_embeddings"),
        (["num_attention_heads": 3], "num_attention_heads"), (["hidden_size": 12], "hidden_size"), (["num_hidden_layers": 1], "num_hidden_layers"),
        (["max_position_embeddings": 7], "max_position_embeddings"), (["n_head": .null], "n_head is null"),
        (["num_attention_heads": .null], "num_attention_heads"), (["activation_function": .null], "activation_function is null"),
        (["tie_word_embeddings": .null], "tie_word_embeddings is null"), (["vocab_size": .null], "vocab_size is null"),
    ]

    @Test(arguments: wrongSettings.indices) func wrongConfigurationsAreNamed(index: Int) {
        let (change, says) = Self.wrongSettings[index]
        directory.write("config.json", Self.configuration(change))
        directory.write("model.safetensors", PackageResources.tied_safetensors)
        #expect(fault().map { "\($0)".contains(says) } == true, "\(fault().map { "\($0)" } ?? "nothing")")
    }

    /// By whatever of its two names transformers knows a setting.
    @Test func otherNamesOfSettingsAreRead() throws {
        let names = [
            "n_embd": "hidden_size", "n_positions": "max_position_embeddings", "n_head": "num_attention_heads", "n_layer": "num_hidden_layers",
        ]
        var members = try #require(JSONValue(parsing: PackageResources.tied_config_json).object)
        directory.write("config.json", PackageResources.tied_config_json)
        directory.write("model.safetensors", PackageResources.tied_safetensors)
        let expected = try GPT2Directory(directory.path)
        #expect(expected.notes.isEmpty)
        for (name, other) in names {
            // Both, the same.
            members[other] = members[name]
            directory.write("config.json", JSONValue.object(members).serialized().utf8)
            #expect(try GPT2Directory(directory.path).configuration == expected.configuration)
            members[name] = nil
            directory.write("config.json", JSONValue.object(members).serialized().utf8)
            let found = try GPT2Directory(directory.path)
            #expect(found.configuration == expected.configuration && found.notes.isEmpty)
        }
    }

    @Test func whatIsAssumedIsSaid() throws {
        var members = try #require(JSONValue(parsing: PackageResources.tied_config_json).object)
        for name in ["activation_function", "layer_norm_epsilon"] { members[name] = nil }
        directory.write("config.json", JSONValue.object(members).serialized().utf8)
        directory.write("model.safetensors", PackageResources.tied_safetensors)
        let found = try GPT2Directory(directory.path)
        #expect(found.notes.count == 1 && found.notes[0].contains("layer_norm_epsilon 1e-05, activation_function gelu_new"), "\(found.notes)")
        members["n_head"] = nil
        directory.write("config.json", JSONValue.object(members).serialized().utf8)
        #expect(fault().map { "\($0)".contains("n_head is 12, which does not divide n_embd, 6") } == true)
    }

    // MARK: A head beside a configuration that ties it

    /// Writes the tied model with changes to its tensors, as floats.
    private func writeTied(_ change: (inout [String: (shape: [Int], values: [Float])]) -> Void) throws {
        directory.write("config.json", PackageResources.tied_config_json)
        let usual = try SafetensorsReader(path: directory.write("usual.safetensors", PackageResources.tied_safetensors))
        var tensors: [String: (shape: [Int], values: [Float])] = [:]
        for info in usual.tensors {
            tensors[info.name] = (info.shape, try usual.bytes(info.name).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) })
        }
        change(&tensors)
        let stored = tensors.map { name, tensor in
            let memory = UnsafeMutableBufferPointer<Float>.allocate(capacity: tensor.values.count)
            _ = memory.initialize(from: tensor.values)
            return (StoredTensor(name: name, type: .float32, shape: tensor.shape, bytes: UnsafeRawBufferPointer(memory)), memory)
        }
        defer { for (_, memory) in stored { memory.deallocate() } }
        try SafetensorsWriter.write(stored.map(\.0), to: "\(directory.path)/model.safetensors")
    }

    private let embedding = "transformer.wte.weight"
    private let head = "lm_head.weight"

    @Test func anEqualHeadIsTied() throws {
        try writeTied { $0[head] = $0[embedding] }
        let found = try GPT2Directory(directory.path)
        #expect(found.configuration.tiedHead && found.notes.isEmpty)
        let (model, arena) = try load(directory.path)
        expectClose(logits(model, arena), Golden.tied, within: 1e-4)
    }

    /// The files' head counts: logits are what the head makes of the same hidden state, so twice the head is twice the logits.
    @Test func anotherHeadIsTaken() throws {
        try writeTied { tensors in tensors[head] = tensors[embedding].map { ($0.shape, $0.values.map { 2 * $0 }) } }
        let found = try GPT2Directory(directory.path)
        #expect(!found.configuration.tiedHead && found.notes.count == 1 && found.notes[0].contains("lm_head.weight"), "\(found.notes)")
        let (model, arena) = try load(directory.path)
        expectClose(logits(model, arena), Golden.tied.map { 2 * $0 }, within: 2e-4)
    }

    @Test func aHeadWithoutAnEmbeddingIsBoth() throws {
        try writeTied { tensors in
            tensors[head] = tensors[embedding]
            tensors[embedding] = nil
        }
        #expect(try GPT2Directory(directory.path).configuration.tiedHead)
        let (model, arena) = try load(directory.path)
        expectClose(logits(model, arena), Golden.tied, within: 1e-4)
    }

    @Test func aHeadThatCannotBeOneIsNamed() throws {
        let path = "\(directory.path)/model.safetensors"
        for shape in [[13, 5], [12, 6], [6, 13], [78]] {
            try writeTied { $0[head] = (shape, [Float](repeating: 1, count: shape.reduce(1, *))) }
            #expect(fault() == .tensor(path: path, name: head, reason: "has the shape \(shape), and [13, 6] by config.json"))
        }
        for wrong in [Float.nan, .infinity, -.infinity] {
            try writeTied { tensors in
                tensors[head] = tensors[embedding]
                tensors[head]?.values[77] = wrong
            }
            #expect(fault().map { "\($0)".contains("\"lm_head.weight\" has elements that are NaN or infinite") } == true)
        }
        try writeTied { $0["transformer.h.1.ln_2.bias"]?.values[3] = .nan }
        #expect(throws: HuggingFaceError.self) { try load(directory.path) }
    }

    @Test func anIndexThatPromisesWhatIsNotThereIsNamed() throws {
        for (name, bytes) in Self.cases[2].files { directory.write(name, bytes) }
        var index = try #require(JSONValue(parsing: PackageResources.sharded_index_json).object)
        var map = try #require(index["weight_map"]?.object)
        let (tensor, file) = try #require(map.first { $0.value == "model-00001-of-00002.safetensors" })
        map[tensor] = "model-00002-of-00002.safetensors"
        index["weight_map"] = .object(map)
        directory.write("model.safetensors.index.json", JSONValue.object(index).serialized().utf8)
        #expect(fault().map { "\($0)".contains("model-00002-of-00002.safetensors") && "\($0)".contains("\"\(tensor)\" is missing") } == true, "\(file)")
    }

    @Test func damagedFilesAreNamed() {
        let path = directory.path
        #expect(fault() == .file(.system(operation: "open", path: "\(path)/config.json", errno: ENOENT)))
        directory.write("config.json", Array("{".utf8))
        #expect(fault().map { "\($0)".contains("not JSON at byte") } == true)
        directory.write("config.json", PackageResources.sharded_config_json)
        #expect(fault() == .noWeights(directory: path))
        directory.write("model.safetensors.index.json", Array("{}".utf8))
        #expect(fault() == .index(path: "\(path)/model.safetensors.index.json", reason: "it has no weight_map"))
        directory.write("model.safetensors.index.json", Array(#"{"weight_map": {"wte.weight": "../secret"}}"#.utf8))
        #expect(fault() == .index(path: "\(path)/model.safetensors.index.json", reason: "the file of \"wte.weight\" is not a name"))
        directory.write("model.safetensors.index.json", PackageResources.sharded_index_json)
        directory.write("model-00001-of-00002.safetensors", PackageResources.sharded1_safetensors)
        #expect(fault() == .file(.system(operation: "open", path: "\(path)/model-00002-of-00002.safetensors", errno: ENOENT)))
        directory.write("model-00002-of-00002.safetensors", PackageResources.sharded2_safetensors.dropLast(9))
        #expect(fault().map { "\($0)".contains("is not a valid safetensors file") } == true)
        directory.write("model-00002-of-00002.safetensors", PackageResources.sharded2_safetensors)
        #expect(fault() == nil)
    }

    @Test func tensorsThatDoNotFitAreNamed() throws {
        directory.write("config.json", Self.configuration([:]))
        let usual = try SafetensorsReader(path: directory.write("usual.safetensors", PackageResources.tied_safetensors))
        let path = "\(directory.path)/model.safetensors"
        func write(_ change: (TensorInfo) -> TensorInfo?, and more: [TensorInfo] = []) throws {
            let infos = usual.tensors.compactMap(change) + more
            let bytes = infos.map { UnsafeMutableRawBufferPointer.allocate(byteCount: max($0.byteCount, 1), alignment: 8) }
            defer { for one in bytes { one.deallocate() } }
            for one in bytes { one.initializeMemory(as: UInt8.self, repeating: 0) }
            try SafetensorsWriter.write(
                zip(infos, bytes).map { StoredTensor(info: $0, bytes: UnsafeRawBufferPointer(rebasing: $1[..<$0.byteCount])) }, to: path)
        }
        let name = "transformer.h.1.mlp.c_fc.weight"
        try write { $0 }
        #expect(fault() == nil)
        try write { $0.name == name ? nil : $0 }
        #expect(fault() == .tensor(path: directory.path, name: name, reason: "is missing"))
        try write { $0.name == name ? TensorInfo(name: name, type: .float32, shape: [24, 6]) : $0 }
        #expect(fault() == .tensor(path: path, name: name, reason: "has the shape [24, 6], and [6, 24] by config.json"))
        try write { $0.name == name ? TensorInfo(name: name, type: .int32, shape: [6, 24]) : $0 }
        #expect(fault().map { "\($0)".contains("elements of type I32") } == true)
        try write({ $0 }, and: [TensorInfo(name: "adapter", type: .float32, shape: [1])])
        #expect(fault() == .tensor(path: path, name: "adapter", reason: "is no part of a GPT-2"))
        // A tied head's own copy is passed over.
        try write({ $0 }, and: [TensorInfo(name: "lm_head.weight", type: .float32, shape: [13, 6])])
        #expect(fault() == nil)
    }
}

/// A directory of its own for one test, which goes with it.
private final class Folder {
    let path: String

    init() {
        var template = Array("/tmp/lockstep-gpt2-XXXXXX".utf8CString)
        if mkdtemp(&template) == nil { Issue.record("no temporary directory: \(String(cString: strerror(errno)))") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { remove(path) }

    @discardableResult
    func write(_ name: String, _ bytes: some Collection<UInt8>) -> String {
        let file = "\(path)/\(name)"
        let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        let all = Array(bytes)
        if Glibc.write(descriptor, all, all.count) != all.count {
            Issue.record("cannot write \(file): \(String(cString: strerror(errno)))")
        }
        close(descriptor)
        return file
    }

    private func remove(_ path: String) {
        if let entries = opendir(path) {
            while let entry = readdir(entries) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name != ".", name != ".." { remove("\(path)/\(name)") }
            }
            closedir(entries)
        }
        Glibc.remove(path)
    }
}
