import Glibc
import RawText

/// A regular file open for reading, which is closed when the last reference goes.
///
/// Reads are positioned and leave no state, so any thread may read. Every fault is a `DatasetError` that names the path.
final class InputFile: Sendable {
    let path: String
    /// The file's size when it was opened.
    let byteCount: Int
    private let descriptor: Int32

    init(path: String) throws(DatasetError) {
        // O_NONBLOCK: opening a pipe that nobody writes to would otherwise wait for ever. It means nothing to a file.
        var descriptor: Int32
        repeat {
            descriptor = path.withFileName { open($0, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
        } while descriptor < 0 && errno == EINTR
        guard descriptor >= 0 else { throw .system(operation: "open", path: path, errno: errno) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            let code = errno
            close(descriptor)
            throw .system(operation: "look at", path: path, errno: code)
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw .notAFile(path: path)
        }
        self.path = path
        self.byteCount = Int(status.st_size)
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }

    /// Whether there is anything of that name, readable or not.
    static func exists(_ path: String) -> Bool {
        var status = stat()
        return path.withFileName { stat($0, &status) } == 0
    }

    /// Whether there is a regular file of that name, readable or not.
    static func isFile(_ path: String) -> Bool {
        var status = stat()
        return path.withFileName { stat($0, &status) } == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    /// Reads up to `buffer.count` bytes from `offset` and returns their number, 0 at the end of the file.
    func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(DatasetError) -> Int {
        while true {
            // SAFETY: the kernel writes at most `buffer.count` bytes to memory that the caller lends for this call.
            let count = pread(descriptor, buffer.baseAddress, buffer.count, off_t(offset))
            if count >= 0 { return count }
            if errno != EINTR { throw .system(operation: "read", path: path, errno: errno) }
        }
    }
}
