import EventLoop
import Glibc

/// The files that hold each worker's output, one a rank. They are closed when this goes.
final class LogDirectory {
    private let paths: [String]
    let descriptors: [Int32]

    /// Makes the directory, and those above it, where they are missing, and an empty `rank-N.log` for each rank.
    init(_ directory: String, ranks: Range<Int>) throws(LaunchError) {
        try Self.makeDirectories(directory)
        var paths: [String] = []
        var descriptors: [Int32] = []
        for rank in ranks {
            let path = "\(directory)/rank-\(rank).log"
            let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
            guard descriptor >= 0 else {
                let code = SystemCode(errno: errno)
                for descriptor in descriptors { Glibc.close(descriptor) }
                throw .logFile(path: path, code: code)
            }
            paths.append(path)
            descriptors.append(descriptor)
        }
        self.paths = paths
        self.descriptors = descriptors
    }

    deinit {
        for descriptor in descriptors { Glibc.close(descriptor) }
    }

    func path(_ index: Int) -> String { paths[index] }

    private static func makeDirectories(_ directory: String) throws(LaunchError) {
        var path = directory.utf8.first == UInt8(ascii: "/") ? "/" : ""
        for part in directory.split(separator: "/") {
            path += path.isEmpty || path == "/" ? String(part) : "/\(part)"
            guard mkdir(path, 0o777) == 0 || errno == EEXIST else {
                throw .logFile(path: path, code: SystemCode(errno: errno))
            }
        }
    }
}
