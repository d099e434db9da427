import Checkpoints
import EventLoop
import Glibc
import Membership
import RawText
import Wire

/// The directory of a job while it runs: `job.json`, `job.secret`, and `job.lock`, which one launcher at a time holds
/// locked.
///
/// The kernel releases the lock when its last holder ends, in any way; the launcher's guardian holds it too, so that a
/// new run finds the directory free only when the workers of the one before are gone.
package final class JobDirectory {
    package let path: String
    /// The lock that no other run has meanwhile.
    let lock: DirectoryLock
    /// Whether there was no such directory before.
    private let isNew: Bool

    private static let record = "job.json"
    private static let secret = "job.secret"

    /// Makes the directory if need be and takes the lock. Throws `inUse` while another run has it, and `notOurs` if a
    /// file of a name that is needed is not a job's.
    package init(path: String) throws(LaunchError) {
        self.path = path
        isNew = path.withFileName { access($0, F_OK) } != 0
        lock = try JobDirectory.lock(path)
        try JobDirectory.checkIsOurs(path, JobDirectory.record, JobDirectory.read(path) != nil)
        try JobDirectory.checkIsOurs(path, JobDirectory.secret, JobDirectory.readSecret(path) != nil)
    }

    private static func lock(_ path: String) throws(LaunchError) -> DirectoryLock {
        while true {
            do throws(LaunchError) {
                try LogDirectory.makeDirectories(path)
            } catch {
                guard case .logFile(let part, let code) = error else { throw error }
                throw .jobDirectory(path: path, part: part, code: code)
            }
            do throws(CheckpointError) {
                return try DirectoryLock(path)
            } catch {
                // A run that has just ended may have taken away the directory, which was made for it.
                if case .system(_, _, ENOENT) = error, path.withFileName({ access($0, F_OK) }) != 0 { continue }
                throw .jobLock(path: path, error)
            }
        }
    }

    /// A file that will be replaced or removed has to be a job's; or nothing but zeros, as after a loss of power.
    private static func checkIsOurs(_ path: String, _ name: String, _ isValid: Bool) throws(LaunchError) {
        let file = "\(path)/\(name)"
        var status = stat()
        guard file.withFileName({ lstat($0, &status) }) == 0, !isValid || status.st_mode & S_IFMT != S_IFREG else { return }
        guard status.st_mode & S_IFMT == S_IFREG, status.st_size < 1 << 20 else { throw .notOurs(path: file) }
        let descriptor = file.withFileName { open($0, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) }
        defer { if descriptor >= 0 { close(descriptor) } }
        var bytes = [UInt8](repeating: 1, count: Int(status.st_size))
        guard descriptor >= 0, Glibc.read(descriptor, &bytes, bytes.count) == bytes.count, bytes.allSatisfy({ $0 == 0 }) else {
            throw .notOurs(path: file)
        }
    }

    /// Shows the job as it is now: the file is always whole.
    ///
    /// - Returns: why that could not be done; the file is then as it was.
    package func write(_ record: JobRecord) -> SystemCode? {
        // Without fsync: after a crash of the machine there is no job to be found anyway, and slow disks must not hold
        // up the launcher.
        write("\(record.json.serialized(indented: true))\n", to: JobDirectory.record, mode: 0o644)
    }

    /// Writes the job's secret, for those that may read this user's files.
    package func write(_ secret: Secret) -> SystemCode? {
        write(secret.hexadecimal + "\n", to: JobDirectory.secret, mode: 0o600)
    }

    /// The job is over. Its last record remains, or nothing, where the directory was made for the job and holds nothing
    /// else.
    ///
    /// - Returns: why the last record could not be written.
    package func end(_ record: JobRecord?) -> SystemCode? {
        _ = "\(path)/\(JobDirectory.secret)".withFileName { unlink($0) }
        let code = record.flatMap { write($0) }
        guard isNew, isOtherwiseEmpty else { return code }
        for name in [JobDirectory.record, DirectoryLock.fileName] { _ = "\(path)/\(name)".withFileName { unlink($0) } }
        _ = path.withFileName { rmdir($0) }
        return nil
    }

    private var isOtherwiseEmpty: Bool {
        guard let stream = path.withFileName({ opendir($0) }) else { return false }
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            if ![".", "..", JobDirectory.record, DirectoryLock.fileName].contains(name) { return false }
        }
        return true
    }

    private func write(_ text: String, to name: String, mode: mode_t) -> SystemCode? {
        let temporary = "\(path)/.\(name).\(getpid())"
        _ = temporary.withFileName { unlink($0) }
        let descriptor = temporary.withFileName { open($0, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode) }
        guard descriptor >= 0 else { return SystemCode(errno: errno) }
        defer { Glibc.close(descriptor) }
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return failed(temporary) }
            rest = rest.dropFirst(count)
        }
        return temporary.withFileName({ old in "\(path)/\(name)".withFileName { rename(old, $0) } }) == 0 ? nil : failed(temporary)
    }

    private func failed(_ temporary: String) -> SystemCode {
        let code = SystemCode(errno: errno)
        _ = temporary.withFileName { unlink($0) }
        return code
    }
}

extension JobDirectory {
    /// The record of a directory's job; nil if there is none.
    package static func read(_ path: String) -> JobRecord? {
        (try? JSONValue(file: "\(path)/\(record)")).flatMap(JobRecord.init(json:))
    }

    /// The secret of a directory's job; nil if there is none, or it may not be read.
    package static func readSecret(_ path: String) -> Secret? {
        let descriptor = "\(path)/\(secret)".withFileName { open($0, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) }
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        // A pipe of that name would be waited for.
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        var bytes = [UInt8](repeating: 0, count: 2 * Secret.byteCount + 1)
        let count = max(0, Glibc.read(descriptor, &bytes, bytes.count))
        let text = String(decoding: bytes.prefix(count), as: UTF8.self)
        return try? Secret(hexadecimal: String(text.prefix { $0 != "\n" }))
    }

    /// What is in the directory under the name of one of a job's files and is no plain file, in a sentence; nil if
    /// there is no such thing.
    package static func fault(in path: String) -> String? {
        for name in [record, secret, DirectoryLock.fileName] {
            var status = stat()
            guard "\(path)/\(name)".withFileName({ stat($0, &status) }) == 0, status.st_mode & S_IFMT != S_IFREG else { continue }
            return "\(path)/\(name) is \(kind(status.st_mode)) and no plain file: it is not of a job"
        }
        return nil
    }

    private static func kind(_ mode: mode_t) -> String {
        switch mode & S_IFMT {
        case S_IFDIR: "a directory"
        case S_IFIFO: "a FIFO"
        case S_IFSOCK: "a socket"
        default: "a device"
        }
    }

    /// Whether a launcher is at work on a directory, whose record this is.
    package static func isRunning(_ path: String, _ record: JobRecord) -> Bool {
        record.launcherIsAlive && DirectoryLock.isTaken(path)
    }
}

extension JobRecord {
    /// False where it is certain that the launcher is gone; a process of another host may be there.
    fileprivate var launcherIsAlive: Bool { host != currentHostName() || kill(pid, 0) == 0 || errno != ESRCH }
}
