import Glibc

/// A whole checkpoint on the disk: its manifest was read, and every file was found to be what the manifest says.
public struct Checkpoint: Sendable {
    /// The weights' file in a checkpoint's directory.
    public static let weightsName = "weights.safetensors"
    /// The optimizer state's file in a checkpoint's directory.
    public static let optimizerName = "optimizer.safetensors"
    /// The manifest's file in a checkpoint's directory.
    public static let manifestName = "manifest.json"

    /// A manifest is a few kilobytes; the largest vocabulary makes it a few hundred.
    private static let greatestManifest = 1 << 26

    /// The checkpoint's directory.
    public let path: String
    /// What it says about itself.
    public let manifest: Manifest

    private let fileSystem: any FileSystem

    /// Opens the checkpoint in the directory `path`, and reads all its files to check them.
    ///
    /// - Throws: a `CheckpointError` that says which file is missing or damaged, and how.
    public init(path: String) throws(CheckpointError) {
        try self.init(path: path, fileSystem: SystemFileSystem())
    }

    package init(path: String, fileSystem: any FileSystem) throws(CheckpointError) {
        let manifestPath = "\(path)/\(Checkpoint.manifestName)"
        let file = try InputFile(path: manifestPath, fileSystem: fileSystem)
        guard file.byteCount <= Checkpoint.greatestManifest else {
            throw .invalidManifest(path: manifestPath, reason: "it has \(file.byteCount) bytes")
        }
        manifest = try Manifest(parsing: file.read(at: 0, count: file.byteCount), path: manifestPath)
        self.path = path
        self.fileSystem = fileSystem
        guard manifest.files.contains(where: { $0.name == Checkpoint.weightsName }) else {
            throw .invalidManifest(path: manifestPath, reason: "it lists no \(Checkpoint.weightsName)")
        }
        for expected in manifest.files {
            let file = try InputFile(path: "\(path)/\(expected.name)", fileSystem: fileSystem)
            // The size first: it costs nothing, and says more of a file that was cut short.
            guard file.byteCount == expected.byteCount else {
                throw .wrongSize(path: file.path, expected: expected.byteCount, found: file.byteCount)
            }
            let found = try file.digest()
            guard found.digest == expected.digest else {
                throw .wrongDigest(path: file.path, expected: expected.digest, found: found.digest)
            }
        }
    }

    init(path: String, manifest: Manifest, fileSystem: any FileSystem) {
        self.path = path
        self.manifest = manifest
        self.fileSystem = fileSystem
    }

    /// Opens the checkpoint that a user means by `path`: a checkpoint's own directory, or a run's, whose newest whole
    /// checkpoint is taken.
    ///
    /// - Throws: `CheckpointError.noCheckpoint` or `.onlyDamaged` if there is none, or how the one at `path` is damaged.
    public static func find(_ path: String) throws(CheckpointError) -> (
        checkpoint: Checkpoint, damaged: [DamagedCheckpoint]
    ) {
        try find(path, fileSystem: SystemFileSystem())
    }

    package static func find(_ path: String, fileSystem: any FileSystem) throws(CheckpointError) -> (
        checkpoint: Checkpoint, damaged: [DamagedCheckpoint]
    ) {
        let names: [String]
        do {
            names = try fileSystem.call("list", path) { () throws(SystemError) in try fileSystem.list(path) }
        } catch .system(_, _, ENOENT), .system(_, _, ENOTDIR) {
            throw .noCheckpoint(path: path)
        }
        // A checkpoint without its manifest is told as damaged, and not as none.
        if names.contains(manifestName) || names.contains(weightsName) && names.contains(optimizerName) { return (try Checkpoint(path: path, fileSystem: fileSystem), []) }
        let directory = CheckpointDirectory(path, fileSystem: fileSystem)
        let (checkpoint, damaged) = try directory.latest()
        if let checkpoint { return (checkpoint, damaged) }
        guard let first = damaged.first else { throw .noCheckpoint(path: path) }
        throw .onlyDamaged(path: directory.path, count: damaged.count, first: first.error.description)
    }

    /// The weights' tensors.
    public func weights() throws(CheckpointError) -> SafetensorsReader {
        try reader(Checkpoint.weightsName)
    }

    /// The optimizer's tensors.
    public func optimizer() throws(CheckpointError) -> SafetensorsReader {
        try reader(Checkpoint.optimizerName)
    }

    private func reader(_ name: String) throws(CheckpointError) -> SafetensorsReader {
        try SafetensorsReader(path: "\(path)/\(name)", fileSystem: fileSystem)
    }
}

/// A checkpoint that cannot be used, and why.
public struct DamagedCheckpoint: Sendable, Equatable {
    /// The checkpoint's directory.
    public let path: String
    /// Why it cannot be used.
    public let error: CheckpointError
}
