import Glibc
import RawText

/// The system calls that checkpoints are made of, one method a call, so that tests can count them and make any of them
/// fail. Nothing is retried here and nothing is continued: that is what is tested.
///
/// Implementations may be called from any thread.
package protocol FileSystem: Sendable {
    /// mkdir(2).
    func makeDirectory(_ path: String) throws(SystemError)
    /// open(2) for writing, where nothing of that name may exist.
    func create(_ path: String) throws(SystemError) -> Int32
    /// open(2) for reading.
    func open(_ path: String) throws(SystemError) -> Int32
    /// write(2): may write less than asked for.
    func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int
    /// pread(2): may read less than asked for, and reads 0 bytes at the end of the file.
    func read(_ descriptor: Int32, at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int
    /// The size of a regular file (fstat(2)); `EINVAL` for anything else.
    func size(_ descriptor: Int32) throws(SystemError) -> Int
    /// fsync(2), for a file or a directory.
    func synchronize(_ descriptor: Int32) throws(SystemError)
    /// close(2). The descriptor is gone even if this throws.
    func close(_ descriptor: Int32) throws(SystemError)
    /// rename(2).
    func rename(_ path: String, to newPath: String) throws(SystemError)
    /// unlink(2).
    func removeFile(_ path: String) throws(SystemError)
    /// rmdir(2).
    func removeDirectory(_ path: String) throws(SystemError)
    /// The names in a directory (readdir(3)) but for `.` and `..`, in no particular order.
    func list(_ path: String) throws(SystemError) -> [String]
    /// Whether a process of that number exists on this machine (kill(2) with signal 0).
    func isAlive(process: Int32) -> Bool
}

/// What a failed system call left in `errno`.
package struct SystemError: Error, Equatable {
    package let code: Int32

    package init(code: Int32) {
        self.code = code
    }
}

/// The file system of the machine.
package struct SystemFileSystem: FileSystem {
    package init() {}

    package func makeDirectory(_ path: String) throws(SystemError) {
        _ = try check(path.withFileName { mkdir($0, 0o777) })
    }

    package func create(_ path: String) throws(SystemError) -> Int32 {
        try check(path.withFileName { Glibc.open($0, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666) })
    }

    package func open(_ path: String) throws(SystemError) -> Int32 {
        // O_NONBLOCK: opening a pipe that nobody writes to would otherwise wait for ever. It means nothing to a file.
        try check(path.withFileName { Glibc.open($0, O_RDONLY | O_CLOEXEC | O_NONBLOCK) })
    }

    package func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int {
        // SAFETY: the kernel reads at most `bytes.count` bytes during the call.
        try check(Glibc.write(descriptor, bytes.baseAddress, bytes.count))
    }

    package func read(
        _ descriptor: Int32, at offset: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(SystemError) -> Int {
        // SAFETY: the kernel writes at most `buffer.count` bytes during the call.
        try check(pread(descriptor, buffer.baseAddress, buffer.count, off_t(offset)))
    }

    package func size(_ descriptor: Int32) throws(SystemError) -> Int {
        var status = stat()
        _ = try check(fstat(descriptor, &status))
        guard status.st_mode & S_IFMT == S_IFREG else { throw SystemError(code: EINVAL) }
        return Int(status.st_size)
    }

    package func synchronize(_ descriptor: Int32) throws(SystemError) {
        _ = try check(fsync(descriptor))
    }

    package func close(_ descriptor: Int32) throws(SystemError) {
        _ = try check(Glibc.close(descriptor))
    }

    package func rename(_ path: String, to newPath: String) throws(SystemError) {
        _ = try check(path.withFileName { old in newPath.withFileName { Glibc.rename(old, $0) } })
    }

    package func removeFile(_ path: String) throws(SystemError) {
        _ = try check(path.withFileName { unlink($0) })
    }

    package func removeDirectory(_ path: String) throws(SystemError) {
        _ = try check(path.withFileName { rmdir($0) })
    }

    package func list(_ path: String) throws(SystemError) -> [String] {
        guard let directory = path.withFileName({ opendir($0) }) else { throw SystemError(code: errno) }
        defer { closedir(directory) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(directory) else {
                if errno != 0 { throw SystemError(code: errno) }
                return names
            }
            // SAFETY: `d_name` is a C string inside the entry, which lives until the next readdir.
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { RawText.string($0.prefix { $0 != 0 }) }
            if name != "." && name != ".." { names.append(name) }
        }
    }

    package func isAlive(process: Int32) -> Bool {
        kill(process, 0) == 0 || errno == EPERM
    }

    private func check<Number: SignedInteger>(_ result: Number) throws(SystemError) -> Number {
        if result < 0 { throw SystemError(code: errno) }
        return result
    }
}

extension FileSystem {
    /// Makes a system call again for as long as a signal interrupts it; any other failure becomes an error that says
    /// what could not be done to which path.
    func call<Value>(
        _ operation: String, _ path: String, _ body: () throws(SystemError) -> Value
    ) throws(CheckpointError) -> Value {
        while true {
            do {
                return try body()
            } catch {
                if error.code != EINTR { throw .system(operation: operation, path: path, errno: error.code) }
            }
        }
    }

    /// Closes a descriptor. This is not retried: on Linux the descriptor is gone, whatever close(2) returns.
    func close(_ descriptor: Int32, path: String) throws(CheckpointError) {
        do {
            try close(descriptor)
        } catch {
            if error.code != EINTR { throw .system(operation: "close", path: path, errno: error.code) }
        }
    }

    /// Makes what was created, renamed or removed in a directory last through a loss of power.
    func synchronizeDirectory(_ path: String) throws(CheckpointError) {
        let descriptor = try call("open", path) { () throws(SystemError) in try open(path) }
        do {
            try call("fsync", path) { () throws(SystemError) in try synchronize(descriptor) }
        } catch {
            try? close(descriptor)
            throw error
        }
        try close(descriptor, path: path)
    }

    /// Makes a directory and those above it, as far as they are missing, and makes them last.
    func makeDirectories(_ path: String) throws(CheckpointError) {
        do {
            try call("create the directory", path) { () throws(SystemError) in try makeDirectory(path) }
        } catch .system(_, _, EEXIST) {
            return
        } catch .system(_, _, ENOENT) where path.contains("/") {
            let parent = directory(of: path)
            if parent == path { throw .system(operation: "create the directory", path: path, errno: ENOENT) }
            try makeDirectories(parent)
            try call("create the directory", path) { () throws(SystemError) in try makeDirectory(path) }
        }
        try synchronizeDirectory(directory(of: path))
    }

    /// The directory that a path lies in.
    func directory(of path: String) -> String {
        // By bytes: with a mark that combines behind it, a slash would be part of another character.
        let slash = UInt8(ascii: "/")
        var bytes = path.utf8[...]
        while bytes.count > 1 && bytes.last == slash { bytes.removeLast() }
        guard let last = bytes.lastIndex(of: slash) else { return "." }
        return last == bytes.startIndex ? "/" : String(Substring(bytes[..<last]))
    }

    /// Removes a directory with the files and directories in it. What is missing already is no fault.
    func removeTree(_ path: String) throws(CheckpointError) {
        do {
            for name in try call("list", path, { () throws(SystemError) in try list(path) }) {
                try removeTree("\(path)/\(name)")
            }
            try call("remove", path) { () throws(SystemError) in try removeDirectory(path) }
        } catch .system(_, _, ENOTDIR) {
            try call("remove", path) { () throws(SystemError) in try removeFile(path) }
        } catch .system(_, _, ENOENT) {
            return
        }
    }
}
