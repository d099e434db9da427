/// Writes safetensors files. The same tensors give the same bytes, in whatever order they come.
public enum SafetensorsWriter {
    /// Writes a file that appears whole or not at all: under another name first, which then replaces `path`.
    ///
    /// For files by themselves, such as an export; a checkpoint's files are written by `CheckpointDirectory`.
    /// - Parameters:
    ///   - tensors: with distinct names. The memory is borrowed until this returns.
    ///   - metadata: free text by key. Other libraries like to see `["format": "pt"]`.
    ///   - path: where the file goes; an older one of that name is replaced.
    /// - Throws: `CheckpointError.system`; the file that was at `path` is then as it was.
    public static func write(
        _ tensors: [StoredTensor], metadata: [String: String] = [:], to path: String
    ) throws(CheckpointError) {
        try write(tensors, metadata: metadata, to: path, fileSystem: SystemFileSystem())
    }

    package static func write(
        _ tensors: [StoredTensor], metadata: [String: String] = [:], to path: String, fileSystem: any FileSystem
    ) throws(CheckpointError) {
        try OutputFile.replace(path, fileSystem: fileSystem) { (file) throws(CheckpointError) in
            try write(tensors, metadata: metadata, to: file)
        }
    }

    static func write(
        _ tensors: [StoredTensor], metadata: [String: String], to file: OutputFile
    ) throws(CheckpointError) {
        let header = SafetensorsHeader(laying: tensors.map(\.info), metadata: metadata)
        try file.write(header.serialized())
        let bytes = Dictionary(uniqueKeysWithValues: tensors.map { ($0.info.name, $0.bytes) })
        for place in header.places {
            try file.write(bytes[place.info.name]!)
        }
    }
}
