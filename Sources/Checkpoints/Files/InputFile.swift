/// A file open for reading, which is closed when the last reference goes.
///
/// Reads are positioned and leave no state, so any thread may read.
final class InputFile: Sendable {
    let path: String
    /// The file's size when it was opened.
    let byteCount: Int
    private let fileSystem: any FileSystem
    private let descriptor: Int32

    init(path: String, fileSystem: any FileSystem) throws(CheckpointError) {
        let descriptor = try fileSystem.call("open", path) { () throws(SystemError) in try fileSystem.open(path) }
        do {
            byteCount = try fileSystem.call("look at", path) { () throws(SystemError) in
                try fileSystem.size(descriptor)
            }
        } catch {
            try? fileSystem.close(descriptor)
            throw error
        }
        self.path = path
        self.fileSystem = fileSystem
        self.descriptor = descriptor
    }

    deinit {
        // Nothing was written, so nothing can be lost.
        try? fileSystem.close(descriptor)
    }

    /// Fills `buffer` from `offset` as far as the file goes, and returns the number of bytes.
    func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(CheckpointError) -> Int {
        var filled = 0
        while filled < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
            let count = try fileSystem.call("read", path) { () throws(SystemError) in
                try fileSystem.read(descriptor, at: offset + filled, into: rest)
            }
            if count == 0 { break }
            filled += count
        }
        return filled
    }

    /// The bytes from `offset`, `count` of them or as many as the file has.
    func read(at offset: Int, count: Int) throws(CheckpointError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: max(0, min(count, byteCount - offset)))
        let filled = try bytes.withUnsafeMutableBufferPointer { (buffer) throws(CheckpointError) in
            try read(at: offset, into: UnsafeMutableRawBufferPointer(buffer))
        }
        bytes.removeLast(bytes.count - filled)
        return bytes
    }

    /// The size and the digest of the whole file, read in pieces.
    func digest() throws(CheckpointError) -> (byteCount: Int, digest: Digest) {
        let hash = SHA256()
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
        // SAFETY: the piece is used in this function only, and all reads into it have ended when it returns.
        defer { piece.deallocate() }
        var offset = 0
        while true {
            let count = try read(at: offset, into: piece)
            if count == 0 { return (offset, hash.digest()) }
            hash.update(UnsafeRawBufferPointer(rebasing: piece[..<count]))
            offset += count
        }
    }
}
