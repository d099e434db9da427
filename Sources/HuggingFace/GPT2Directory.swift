import Checkpoints
import NeuralNetworks
import Tensors

/// A GPT-2 in a directory as Hugging Face's transformers saves it: config.json and model.safetensors, or several files and
/// model.safetensors.index.json. Elements may be F32, F16 or BF16; here they become float32.
///
/// Tensor names with and without the leading "transformer." are read; the constant masks that old files have are passed over. Where the
/// configuration ties the head to the embedding and the files have both, they decide, as in transformers 5: the head is tied if
/// the two are equal, and one of its own otherwise. With only one of the two, that is both.
public struct GPT2Directory: Sendable {
    /// The directory's path.
    public let path: String
    /// What `GPT` to make, to be filled by `load`; without dropout, which the file only recommends.
    public let configuration: GPT.Configuration
    /// What people should know of how the files were read, a line each.
    public let notes: [String]
    /// Where each tensor is, by its name without "transformer.".
    private let places: [String: Place]

    private typealias Place = (reader: SafetensorsReader, info: TensorInfo)

    /// Reads the configuration and checks that every tensor is there in its shape; reads no tensor yet, but for a head beside a
    /// configuration that ties it.
    ///
    /// - Throws: `HuggingFaceError`, naming the file.
    public init(_ path: String) throws(HuggingFaceError) {
        self.path = path
        var (configuration, assumed) = try GPT2Configuration.read("\(path)/config.json")
        var notes = assumed.map { [$0] } ?? []
        var places: [String: Place] = [:]
        for reader in try GPT2Directory.readers(path) {
            for info in reader.tensors {
                let hasPrefix = info.name.hasPrefix(GPT2Tensor.prefix)
                let name = hasPrefix ? String(info.name.dropFirst(GPT2Tensor.prefix.count)) : info.name
                if hasPrefix, name == GPT2Tensor.headName {
                    throw .tensor(path: reader.path, name: info.name, reason: "is no part of a GPT-2")
                }
                if places.updateValue((reader, info), forKey: name) != nil {
                    throw .tensor(path: reader.path, name: info.name, reason: "is there twice")
                }
            }
        }
        if configuration.tiedHead, let head = places[GPT2Tensor.headName] {
            if places[GPT2Tensor.embeddingName] == nil {
                places[GPT2Tensor.embeddingName] = head
                places[GPT2Tensor.headName] = nil
            } else {
                // First by their shapes, as a head of its own: what is compared is then of the same shape.
                configuration.tiedHead = false
                try GPT2Directory.check(GPT2Tensor.all(of: GPT(configuration)), places, path)
                configuration.tiedHead = try places[GPT2Tensor.embeddingName].map { (embedding) throws(HuggingFaceError) in
                    try GPT2Directory.areEqual(embedding, head)
                } ?? true
                if !configuration.tiedHead {
                    notes.append(
                        "\(head.reader.path) has a \(GPT2Tensor.headName) other than its embedding, and config.json ties them: the file's is "
                            + "taken, as transformers does; \"tie_word_embeddings\": false would say so")
                }
            }
        }
        self.configuration = configuration
        self.notes = notes
        self.places = places
        // The parameters have no memory yet: nothing is allocated for what a configuration promises before files keep it.
        try GPT2Directory.check(GPT2Tensor.all(of: GPT(configuration)), places, path)
    }

    /// Fills a model's parameters, which must be in an arena. The model must have been made with `configuration`, dropout aside.
    ///
    /// - Throws: `HuggingFaceError.file` where a file cannot be read, `.tensor` where an element is NaN or infinite; parameters are then
    ///   undefined.
    public func load(into model: GPT) throws(HuggingFaceError) {
        for tensor in GPT2Tensor.all(of: model) {
            guard let (reader, info) = places[tensor.name], let parameter = tensor.parameter, info.shape == tensor.shape else {
                preconditionFailure("the model was not made with the configuration in \(path)")
            }
            let bytes: [UInt8]
            do {
                bytes = try reader.bytes(info.name)
            } catch {
                throw .file(error)
            }
            let columns = tensor.isTransposed ? tensor.shape[1] : 0
            let rows = tensor.isTransposed ? tensor.shape[0] : 0
            bytes.withUnsafeBytes { raw in
                for index in 0..<parameter.count {
                    // (inputs, outputs) in the file, (outputs, inputs) here.
                    let place = tensor.isTransposed ? index % rows * columns + index / rows : index
                    parameter.values[index] = GPT2Directory.element(raw, place, info.type)
                }
            }
            guard (0..<parameter.count).allSatisfy({ parameter.values[$0].isFinite }) else { throw GPT2Directory.notFinite((reader, info)) }
        }
    }

    // MARK: Files

    /// The file with all tensors, or else those that the index lists.
    private static func readers(_ directory: String) throws(HuggingFaceError) -> [SafetensorsReader] {
        let (single, index) = ("\(directory)/model.safetensors", "\(directory)/model.safetensors.index.json")
        if fileExists(single) { return [try reader(single)] }
        guard fileExists(index) else { throw .noWeights(directory: directory) }
        var readers: [SafetensorsReader] = []
        for (name, tensors) in try shards(index) {
            let shard = try reader("\(directory)/\(name)")
            if let missing = tensors.sorted().first(where: { shard.info($0) == nil }) {
                throw .tensor(path: shard.path, name: missing, reason: "is missing, and should be there by \(index)")
            }
            readers.append(shard)
        }
        return readers
    }

    private static func reader(_ path: String) throws(HuggingFaceError) -> SafetensorsReader {
        do {
            return try SafetensorsReader(path: path)
        } catch {
            throw .file(error)
        }
    }

    /// The names of the files that an index lists, which must lie beside it, and which tensors are in each.
    private static func shards(_ path: String) throws(HuggingFaceError) -> [(name: String, tensors: [String])] {
        let index: JSONValue
        do {
            index = try JSONValue(file: path)
        } catch {
            if case .invalidJSON(let offset, let reason) = error {
                throw .index(path: path, reason: "not JSON at byte \(offset): \(reason)")
            }
            throw .file(error)
        }
        guard let map = index["weight_map"]?.object, !map.isEmpty else {
            throw .index(path: path, reason: "it has no weight_map")
        }
        var tensors: [String: [String]] = [:]
        for (tensor, value) in map {
            guard let name = value.string, !name.isEmpty, !name.contains("/"), name != "..", name != "." else {
                throw .index(path: path, reason: "the file of \"\(tensor)\" is not a name")
            }
            tensors[name, default: []].append(tensor)
        }
        return tensors.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Elements of two tensors of the same shape that are compared at a time.
    private static let comparedElements = 1 << 18

    /// Whether two tensors have the same values, of whatever types.
    private static func areEqual(_ one: Place, _ other: Place) throws(HuggingFaceError) -> Bool {
        let count = one.info.shape.reduce(1, *)
        for first in stride(from: 0, to: count, by: comparedElements) {
            let range = first..<min(count, first + comparedElements)
            let (ours, others) = (try values(one, range), try values(other, range))
            if ours != others { return false }
        }
        return true
    }

    private static func values(_ place: Place, _ range: Range<Int>) throws(HuggingFaceError) -> [Float] {
        let size = (place.info.type.bitCount ?? 8) / 8
        var bytes = [UInt8](repeating: 0, count: size * range.count)
        do throws(CheckpointError) {
            try bytes.withUnsafeMutableBufferPointer { (buffer) throws(CheckpointError) in
                try place.reader.read(place.info.name, from: size * range.lowerBound, into: UnsafeMutableRawBufferPointer(buffer))
            }
        } catch {
            throw .file(error)
        }
        let values = bytes.withUnsafeBytes { raw in range.indices.map { element(raw, $0 - range.lowerBound, place.info.type) } }
        guard values.allSatisfy(\.isFinite) else { throw notFinite(place) }
        return values
    }

    private static func notFinite(_ place: Place) -> HuggingFaceError {
        .tensor(path: place.reader.path, name: place.info.name, reason: "has elements that are NaN or infinite; save the model again")
    }

    private static func check(_ tensors: [GPT2Tensor], _ places: [String: Place], _ path: String) throws(HuggingFaceError) {
        for tensor in tensors {
            guard let (reader, info) = places[tensor.name] else {
                throw .tensor(path: path, name: tensor.fullName, reason: "is missing")
            }
            guard info.shape == tensor.shape else {
                throw .tensor(
                    path: reader.path, name: info.name,
                    reason: "has the shape \(info.shape), and \(tensor.shape) by config.json")
            }
            guard [.float32, .float16, .bfloat16].contains(info.type) else {
                throw .tensor(path: reader.path, name: info.name, reason: "has elements of type \(info.type.rawValue); F32, F16 and BF16 are read")
            }
        }
        // A tensor that nothing here uses would be left out of the result silently.
        let known = Set(tensors.map(\.name) + [GPT2Tensor.headName])
        for (name, place) in places where !known.contains(name) && !GPT2Directory.isMask(name) {
            throw .tensor(path: place.reader.path, name: place.info.name, reason: "is no part of a GPT-2")
        }
    }

    private static func isMask(_ name: String) -> Bool {
        name.hasPrefix("h.") && (name.hasSuffix(".attn.bias") || name.hasSuffix(".attn.masked_bias"))
    }

    private static func element(_ bytes: UnsafeRawBufferPointer, _ index: Int, _ type: StoredType) -> Float {
        switch type {
        case .float32: return Float(bitPattern: bytes.loadUnaligned(fromByteOffset: 4 * index, as: UInt32.self))
        case .float16: return Float(Float16(bitPattern: bytes.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self)))
        case .bfloat16:
            return Float(bitPattern: UInt32(bytes.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self)) << 16)
        default: preconditionFailure("checked on opening")
        }
    }

    // MARK: Writing

    /// What a directory with a model in it has one of.
    private static let modelNames = [
        "config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
        "tf_model.h5", "flax_model.msgpack",
    ]

    /// Writes a model, in float32, as a directory that transformers' `GPT2LMHeadModel.from_pretrained` loads.
    ///
    /// Biases that the model does without are zeros there. The weights come first and config.json last, each whole or not at all.
    /// - Parameter path: made if it does not exist; must not have a model in it.
    /// - Returns: that the directory's file system has no locks, which keep out others who write there meanwhile, if it has none.
    /// - Throws: `HuggingFaceError.occupied` or `.file`.
    @discardableResult
    public static func write(_ model: GPT, to path: String) throws(HuggingFaceError) -> LackOfLocks? {
        var owned: [UnsafeMutableBufferPointer<Float>] = []
        defer { for buffer in owned { buffer.deallocate() } }
        var stored: [StoredTensor] = []
        for tensor in GPT2Tensor.all(of: model) {
            let values: UnsafeMutableBufferPointer<Float>
            if let parameter = tensor.parameter, !tensor.isTransposed {
                values = UnsafeMutableBufferPointer(start: parameter.values, count: parameter.count)
            } else {
                values = .allocate(capacity: tensor.shape.reduce(1, *))
                values.initialize(repeating: 0)
                owned.append(values)
                if let parameter = tensor.parameter {
                    let (inputs, outputs) = (tensor.shape[0], tensor.shape[1])
                    for index in values.indices { values[index] = parameter.values[index % outputs * inputs + index / outputs] }
                }
            }
            stored.append(
                StoredTensor(name: tensor.fullName, type: .float32, shape: tensor.shape, bytes: UnsafeRawBufferPointer(values)))
        }
        do {
            try makeDirectories(path)
            return try OwnLocks.hold(path) { () throws in
                for name in modelNames where fileExists("\(path)/\(name)") {
                    throw HuggingFaceError.occupied(path: "\(path)/\(name)")
                }
                try SafetensorsWriter.write(stored, metadata: ["format": "pt"], to: "\(path)/model.safetensors")
                try GPT2Configuration.json(model.configuration).write(to: "\(path)/config.json")
            }.lack
        } catch let error as HuggingFaceError {
            throw error
        } catch let error as CheckpointError {
            throw .file(error)
        } catch {
            preconditionFailure("\(error)")
        }
    }
}
