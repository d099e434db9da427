import EventLoop
import Glibc

/// The files that hold each worker's output, one a rank, through all of its lives. They are closed when this goes.
final class LogDirectory {
    private let directory: String
    private var descriptors: [Int: Int32] = [:]

    /// Makes the directory, and those above it, where they are missing, and an empty `rank-N.log` for each rank.
    init(_ directory: String, ranks: Range<Int>) throws(LaunchError) {
        self.directory = directory
        try Self.makeDirectories(directory)
        for rank in ranks { _ = try descriptor(rank: rank) }
    }

    deinit {
        for descriptor in descriptors.values { Glibc.close(descriptor) }
    }

    /// The rank's file, made empty when it is asked for the first time.
    func descriptor(rank: Int) throws(LaunchError) -> Int32 {
        if let descriptor = descriptors[rank] { return descriptor }
        let path = path(rank: rank)
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw .logFile(path: path, code: SystemCode(errno: errno)) }
        descriptors[rank] = descriptor
        return descriptor
    }

    func path(rank: Int) -> String { "\(directory)/rank-\(rank).log" }

    /// Makes the directory, and those above it, unless they are there.
    static func makeDirectories(_ directory: String) throws(LaunchError) {
        var path = directory.utf8.first == UInt8(ascii: "/") ? "/" : ""
        for part in directory.split(separator: "/") {
            path += path.isEmpty || path == "/" ? String(part) : "/\(part)"
            guard mkdir(path, 0o777) == 0 || errno == EEXIST else {
                throw .logFile(path: path, code: SystemCode(errno: errno))
            }
        }
    }
}
