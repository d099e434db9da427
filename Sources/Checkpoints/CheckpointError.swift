import Glibc

/// What can go wrong with a checkpoint: one line each, saying what, where, and what to do.
public enum CheckpointError: Error, Sendable, Equatable {
    /// A system call on `path` failed with `errno`.
    case system(operation: String, path: String, errno: Int32)
    /// The text is not JSON. `offset` is in bytes.
    case invalidJSON(offset: Int, reason: String)
    /// The file breaks the safetensors format.
    case invalidSafetensors(path: String, reason: String)
    /// The manifest is not one, or was altered.
    case invalidManifest(path: String, reason: String)
    /// The manifest is of a version that this build does not read.
    case unsupportedVersion(path: String, found: Int, supported: Int)
    /// A checkpoint's file has another size than its manifest says.
    case wrongSize(path: String, expected: Int, found: Int)
    /// A checkpoint's file has other contents than its manifest says.
    case wrongDigest(path: String, expected: Digest, found: Digest)
    /// The directory of a step holds the checkpoint of another.
    case wrongStep(path: String, found: Int)
    /// The file has no tensor of that name.
    case missingTensor(path: String, name: String)
    /// There is no checkpoint at `path`, nor in the run's directory of that name.
    case noCheckpoint(path: String)
    /// Another run writes to the directory `path`; `by` is who it is, if it has said so.
    case inUse(path: String, by: String?)
    /// The file by which runs keep out of each other's way is another's.
    case notALock(path: String)
    /// There are checkpoints in `path`, and all of them are damaged; `first` says how the newest is.
    case onlyDamaged(path: String, count: Int, first: String)
}

extension CheckpointError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .system(let operation, let path, let errno):
            return "cannot \(operation) \(path): \(String(cString: strerror(errno)))\(CheckpointError.advice(errno))"
        case .invalidJSON(let offset, let reason):
            return "not JSON at byte \(offset): \(reason)"
        case .invalidSafetensors(let path, let reason):
            return "\(path) is not a valid safetensors file: \(reason)"
        case .invalidManifest(let path, let reason):
            return "\(path) is not a valid manifest: \(reason)"
        case .unsupportedVersion(let path, let found, let supported):
            return "\(path) has format version \(found), but this build reads version \(supported); use the Lockstep that "
                + "wrote it"
        case .wrongSize(let path, let expected, let found):
            return "\(path) is damaged: it has \(found) bytes and should have \(expected)"
        case .wrongDigest(let path, let expected, let found):
            return "\(path) is damaged: its SHA-256 is \(found) and should be \(expected)"
        case .wrongStep(let path, let found):
            return "\(path) is damaged: it holds the checkpoint of step \(found)"
        case .missingTensor(let path, let name):
            return "\(path) has no tensor \"\(name)\""
        case .noCheckpoint(let path):
            return "\(path) holds no checkpoint; give a run's --out directory or one of its checkpoints/step-N"
        case .inUse(let path, let by):
            return "another run is at work in \(path)\(by.map { " (\($0))" } ?? ""): wait for its end, or choose another --out"
        case .notALock(let path):
            return "\(path) is not Lockstep's: it is the name of the file by which runs keep out of each other's way; choose another "
                + "directory, or move it"
        case .onlyDamaged(let path, let count, let first):
            return "\(path) holds \(count) checkpoint\(count == 1 ? "" : "s"), all damaged; the newest: \(first)"
        }
    }

    private static func advice(_ errno: Int32) -> String {
        switch errno {
        case ENOSPC, EDQUOT, EFBIG: "; free some space or use another directory"
        case ENOTDIR: "; a part of that path is a file: choose another directory"
        case EACCES, EPERM, EROFS: "; use a directory that this user may write to"
        default: ""
        }
    }
}
