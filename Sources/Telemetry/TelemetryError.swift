import Glibc

/// What can go wrong with a metrics file: one line each, saying what, where, and what to do.
public enum TelemetryError: Error, Sendable, Equatable {
    /// A system call on `path` failed with `errno`.
    case system(operation: String, path: String, errno: Int32)
    /// A file whose line is no record of a step is neither cut nor emptied. Lines count from 1.
    case notAMetricsFile(path: String, line: Int)
    /// A run that begins will not empty the metrics file of another.
    case anotherRun(path: String, lastStep: Int)
    /// A link is not followed.
    case isSymbolicLink(path: String)
    /// A pipe, a socket or a device.
    case isNoFile(path: String)
    /// The file has further names, whose contents would change with it.
    case hasOtherNames(path: String, count: Int)
    /// Another process has the file locked.
    case inUse(path: String)
}

extension TelemetryError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .system(let operation, let path, let errno):
            "cannot \(operation) the metrics file \(path): \(String(cString: strerror(errno)))\(TelemetryError.advice(errno))"
        case .notAMetricsFile(let path, let line):
            "\(path) is not a metrics file: line \(line) is no record of a step; give another file, or remove this one"
        case .anotherRun(let path, let lastStep):
            "the metrics file \(path) has \(lastStep) steps of another run: add --resume to go on with that run, "
                + "--overwrite-metrics to replace it, or give another file"
        case .isSymbolicLink(let path):
            "the metrics file \(path) is a symbolic link, which is not followed; give the file itself, or another"
        case .isNoFile(let path):
            "the metrics file \(path) is a pipe or a device; give a regular file, which can be followed with tail -F"
        case .hasOtherNames(let path, let count):
            "the metrics file \(path) has \(count) names (hard links), and all would change with it; give another file"
        case .inUse(let path):
            "the metrics file \(path) is being written by another run; give another file, or wait for the end of that one"
        }
    }

    private static func advice(_ errno: Int32) -> String {
        switch errno {
        case ENOSPC, EDQUOT, EFBIG: "; free some space or give another file"
        case ENOENT, ENOTDIR: "; its directory must be there already"
        case EISDIR: "; give the path of a file"
        case EACCES, EPERM, EROFS: "; give a file that this user may write"
        default: ""
        }
    }
}
