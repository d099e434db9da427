import EventLoop
import Glibc
import RawText

/// The files that hold each worker's output, one a rank, through all of its lives. They are closed with this value.
final class LogDirectory {
    private let directory: String
    private var descriptors: [Int: Int32] = [:]

    private let overwrites: Bool

    /// Makes the directory, and those above it, where they are missing, and an empty `rank-N.log` for each rank.
    ///
    /// - Parameter overwrites: files of these names that are there already are emptied; else they are refused.
    init(_ directory: String, ranks: Range<Int>, overwrites: Bool = false) throws(LaunchError) {
        self.directory = directory
        self.overwrites = overwrites
        try Self.makeDirectories(directory)
        // All are looked at before any is emptied.
        for rank in ranks { try check(path(rank: rank)) }
        for rank in ranks { _ = try descriptor(rank: rank) }
    }

    deinit {
        for descriptor in descriptors.values { Glibc.close(descriptor) }
    }

    /// The rank's file, made empty when it is asked for the first time.
    func descriptor(rank: Int) throws(LaunchError) -> Int32 {
        if let descriptor = descriptors[rank] { return descriptor }
        let path = path(rank: rank)
        try check(path)
        let descriptor = path.withFileName {
            open($0, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0o644)
        }
        guard descriptor >= 0 else { throw .logFile(path: path, code: SystemCode(errno: errno)) }
        descriptors[rank] = descriptor
        return descriptor
    }

    /// Only a plain file with one name is emptied, and only on request where there is anything in it.
    private func check(_ path: String) throws(LaunchError) {
        var status = stat()
        guard path.withFileName({ lstat($0, &status) }) == 0 else { return }
        let isPlain = status.st_mode & S_IFMT == S_IFREG && status.st_nlink == 1
        guard isPlain, overwrites || status.st_size == 0 else { throw .logFileIsThere(path: path, isPlain: isPlain) }
    }

    func path(rank: Int) -> String { "\(directory)/rank-\(rank).log" }

    /// Makes the directory, and those above it, unless they are there.
    static func makeDirectories(_ directory: String) throws(LaunchError) {
        var path = directory.utf8.first == UInt8(ascii: "/") ? "/" : ""
        for part in directory.utf8.split(separator: UInt8(ascii: "/")).map({ String(Substring($0)) }) {
            path += path.isEmpty || path == "/" ? part : "/\(part)"
            guard path.withFileName({ mkdir($0, 0o777) }) == 0 || errno == EEXIST else {
                throw .logFile(path: path, code: SystemCode(errno: errno))
            }
        }
    }
}
