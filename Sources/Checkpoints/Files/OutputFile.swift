import Glibc

/// A new file that is written from front to back, with its size and digest known at the end.
///
/// Small pieces are gathered, large ones are written from where they are. Short writes are continued. Used by one thread.
final class OutputFile {
    /// Pieces are gathered up to this size.
    private static let bufferBytes = 1 << 20
    /// More than Linux takes in one write(2) would only come back as a short write; this also bounds the time until an
    /// error is seen.
    private static let greatestWrite = 1 << 28

    let path: String
    private let fileSystem: any FileSystem
    private let descriptor: Int32
    private let hash = SHA256()
    private var byteCount = 0
    private var buffer: [UInt8] = []
    private var isOpen = true

    /// Creates the file, which may not exist.
    init(path: String, fileSystem: any FileSystem) throws(CheckpointError) {
        self.path = path
        self.fileSystem = fileSystem
        descriptor = try fileSystem.call("create", path) { () throws(SystemError) in try fileSystem.create(path) }
        buffer.reserveCapacity(OutputFile.bufferBytes)
    }

    deinit {
        // Whoever drops an unfinished file has an error at hand already, and removes the file.
        if isOpen { try? fileSystem.close(descriptor) }
    }

    /// Writes a file that appears whole, on the disk and under its name, or not at all.
    ///
    /// - Throws: what `write` does, and `CheckpointError.system`; a file that was at `path` is then as it was.
    static func replace(
        _ path: String, fileSystem: any FileSystem, _ write: (OutputFile) throws(CheckpointError) -> Void
    ) throws(CheckpointError) {
        let temporary = "\(path).tmp-\(ProcessNumber.own)"
        // What a process of the same number left behind when it was killed.
        try? fileSystem.removeFile(temporary)
        do {
            let file = try OutputFile(path: temporary, fileSystem: fileSystem)
            try write(file)
            _ = try file.finish()
            try fileSystem.call("rename", "\(temporary) to \(path)") { () throws(SystemError) in
                try fileSystem.rename(temporary, to: path)
            }
        } catch {
            try? fileSystem.removeFile(temporary)
            throw error
        }
        try fileSystem.synchronizeDirectory(fileSystem.directory(of: path))
    }

    /// Appends bytes.
    func write(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
        hash.update(bytes)
        byteCount += bytes.count
        if buffer.count + bytes.count <= OutputFile.bufferBytes {
            buffer.append(contentsOf: bytes)
        } else {
            try flush()
            try writeThrough(bytes)
        }
    }

    /// Appends bytes.
    func write(_ bytes: [UInt8]) throws(CheckpointError) {
        try bytes.withUnsafeBufferPointer { (buffer) throws(CheckpointError) in
            try write(UnsafeRawBufferPointer(buffer))
        }
    }

    /// Writes out what was gathered, waits until the file is on the disk, and closes it.
    func finish() throws(CheckpointError) -> (byteCount: Int, digest: Digest) {
        try flush()
        try fileSystem.call("fsync", path) { () throws(SystemError) in try fileSystem.synchronize(descriptor) }
        isOpen = false
        try fileSystem.close(descriptor, path: path)
        return (byteCount, hash.digest())
    }

    private func flush() throws(CheckpointError) {
        try buffer.withUnsafeBufferPointer { (buffer) throws(CheckpointError) in
            try writeThrough(UnsafeRawBufferPointer(buffer))
        }
        buffer.removeAll(keepingCapacity: true)
    }

    private func writeThrough(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
        var rest = bytes
        while !rest.isEmpty {
            let piece = UnsafeRawBufferPointer(rebasing: rest.prefix(OutputFile.greatestWrite))
            let written = try fileSystem.call("write", path) { () throws(SystemError) in
                try fileSystem.write(descriptor, piece)
            }
            // No progress and no error: some network file systems do so when they are full.
            if written == 0 { throw .system(operation: "write", path: path, errno: ENOSPC) }
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(written))
        }
    }
}
