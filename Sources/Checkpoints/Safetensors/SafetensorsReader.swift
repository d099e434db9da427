/// A safetensors file, open for reading, whose header has been checked from end to end.
///
/// Tensors are read one by one, straight to where they belong; the file is not held in memory. It may be used from any
/// thread, and is closed with the last reference.
public final class SafetensorsReader: Sendable {
    /// The file's path.
    public let path: String
    /// The tensors, in the order of their bytes in the file.
    public let tensors: [TensorInfo]
    /// The file's free text by key.
    public let metadata: [String: String]

    private let file: InputFile
    /// Where each tensor's bytes begin in the file.
    private let offsets: [String: (info: TensorInfo, offset: Int)]

    /// Opens the file and checks its header.
    ///
    /// - Parameter takesUnknownTypes: whether tensors of types that this build does not know are listed, too; else they are refused.
    /// - Throws: `CheckpointError.system` or `.invalidSafetensors`.
    public convenience init(path: String, takesUnknownTypes: Bool = false) throws(CheckpointError) {
        try self.init(path: path, fileSystem: SystemFileSystem(), takesUnknownTypes: takesUnknownTypes)
    }

    package init(path: String, fileSystem: any FileSystem, takesUnknownTypes: Bool = false) throws(CheckpointError) {
        let file = try InputFile(path: path, fileSystem: fileSystem)
        let prefix = try file.read(at: 0, count: SafetensorsHeader.lengthBytes)
        let header: SafetensorsHeader
        let dataStart: Int
        do {
            let length = try SafetensorsHeader.length(prefix: prefix, byteCount: file.byteCount)
            dataStart = SafetensorsHeader.lengthBytes + length
            let json = try file.read(at: SafetensorsHeader.lengthBytes, count: length)
            header = try SafetensorsHeader(json: json, dataBytes: file.byteCount - dataStart, takesUnknownTypes: takesUnknownTypes)
        } catch let fault as SafetensorsFault {
            throw .invalidSafetensors(path: path, reason: fault.description)
        } catch let error as CheckpointError {
            throw error
        } catch {
            preconditionFailure("\(error)")
        }
        self.path = path
        self.file = file
        self.metadata = header.metadata
        self.tensors = header.places.map(\.info)
        self.offsets = Dictionary(
            uniqueKeysWithValues: header.places.map { ($0.info.name, ($0.info, dataStart + $0.offset)) })
    }

    /// The tensor of that name, or nil if there is none.
    public func info(_ name: String) -> TensorInfo? {
        offsets[name]?.info
    }

    /// Reads a tensor's bytes, row-major and little-endian, into `buffer`, which has to be of exactly its size.
    ///
    /// - Throws: `CheckpointError.missingTensor`, `.system`, or `.invalidSafetensors` if the file has become shorter; the
    ///   contents of the buffer are then undefined.
    public func read(_ name: String, into buffer: UnsafeMutableRawBufferPointer) throws(CheckpointError) {
        guard let (info, offset) = offsets[name] else { throw .missingTensor(path: path, name: name) }
        precondition(buffer.count == info.byteCount, "\(buffer.count) bytes for the \(info.byteCount) of \"\(name)\"")
        guard try file.read(at: offset, into: buffer) == info.byteCount else {
            throw .invalidSafetensors(path: path, reason: "it became shorter while it was read")
        }
    }

    /// Reads a part of a tensor's bytes, from `start` on; what there is must fill `buffer`.
    package func read(_ name: String, from start: Int, into buffer: UnsafeMutableRawBufferPointer) throws(CheckpointError) {
        guard let (info, offset) = offsets[name] else { throw .missingTensor(path: path, name: name) }
        precondition(start >= 0 && start + buffer.count <= info.byteCount, "bytes beyond the end of \"\(name)\"")
        guard try file.read(at: offset + start, into: buffer) == buffer.count else {
            throw .invalidSafetensors(path: path, reason: "it became shorter while it was read")
        }
    }

    /// A tensor's bytes, row-major and little-endian.
    public func bytes(_ name: String) throws(CheckpointError) -> [UInt8] {
        guard let (info, _) = offsets[name] else { throw .missingTensor(path: path, name: name) }
        var bytes = [UInt8](repeating: 0, count: info.byteCount)
        try bytes.withUnsafeMutableBufferPointer { (buffer) throws(CheckpointError) in
            try read(name, into: UnsafeMutableRawBufferPointer(buffer))
        }
        return bytes
    }

    /// How the file differs from the tensors that a model has, in one line, or nil if names, types and shapes agree.
    ///
    /// The first difference is spelled out, the others are counted.
    public func difference(from expected: [TensorInfo]) -> String? {
        var differences: [String] = []
        for info in expected {
            guard let found = self.info(info.name) else {
                differences.append("the model's \"\(info.name)\" \(SafetensorsReader.spell(info)) is not in the file")
                continue
            }
            if found != info {
                differences.append(
                    "\"\(info.name)\" is \(SafetensorsReader.spell(info)) in the model and "
                        + "\(SafetensorsReader.spell(found)) in the file")
            }
        }
        let names = Set(expected.map(\.name))
        for info in tensors where !names.contains(info.name) {
            differences.append("the file's \"\(info.name)\" \(SafetensorsReader.spell(info)) is not in the model")
        }
        guard let first = differences.first else { return nil }
        switch differences.count - 1 {
        case 0: return first
        case 1: return "\(first), and 1 more difference"
        case let more: return "\(first), and \(more) more differences"
        }
    }

    private static func spell(_ info: TensorInfo) -> String {
        "\(info.type.rawValue)[\(info.shape.map(String.init).joined(separator: "x"))]"
    }
}
