import Glibc

/// What can go wrong with a metrics file: one line each, saying what, where, and what to do.
public enum TelemetryError: Error, Sendable, Equatable {
    /// A system call on `path` failed with `errno`.
    case system(operation: String, path: String, errno: Int32)
    /// A run that resumes will not cut a file whose line is no record of a step. Lines count from 1.
    case notAMetricsFile(path: String, line: Int)
}

extension TelemetryError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .system(let operation, let path, let errno):
            "cannot \(operation) the metrics file \(path): \(String(cString: strerror(errno)))\(TelemetryError.advice(errno))"
        case .notAMetricsFile(let path, let line):
            "\(path) is not a metrics file: line \(line) is no record of a step; give another file, or remove this one"
        }
    }

    private static func advice(_ errno: Int32) -> String {
        switch errno {
        case ENOSPC, EDQUOT: "; free some space or give another file"
        case ENOENT, ENOTDIR: "; its directory must be there already"
        case EISDIR: "; give the path of a file"
        case EACCES, EPERM, EROFS: "; give a file that this user may write"
        default: ""
        }
    }
}
