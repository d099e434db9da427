import Checkpoints
import EventLoop
import Glibc
import Membership
import Wire

/// The directory of a job while it runs: `job.json`, `job.secret`, and `job.lock`, which one launcher at a time holds locked.
///
/// The kernel lets go of the lock when its last holder ends, however that was; the launcher's guardian holds it too, so that a new run
/// finds the directory free only when the workers of the one before are gone.
package final class JobDirectory {
    package let path: String
    /// The locked file.
    private(set) var lock: Int32
    /// Whether there was no such directory before.
    private let isNew: Bool

    private static let record = "job.json"
    private static let secret = "job.secret"
    private static let lockFile = "job.lock"

    /// Makes the directory if need be and takes the lock. Throws `inUse` while another run has it.
    package init(path: String) throws(LaunchError) {
        self.path = path
        isNew = access(path, F_OK) != 0
        while true {
            do throws(LaunchError) {
                try LogDirectory.makeDirectories(path)
            } catch {
                guard case .logFile(let part, let code) = error else { throw error }
                throw .jobDirectory(path: path, part: part, code: code)
            }
            lock = open("\(path)/\(JobDirectory.lockFile)", O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
            guard lock >= 0 else { throw .jobDirectory(path: path, part: path, code: SystemCode(errno: errno)) }
            let code = JobDirectory.take(lock, path)
            // A run that has just ended may have taken the file away: then the lock is on nothing.
            var status = stat()
            if code == 0, fstat(lock, &status) == 0, status.st_nlink > 0 { return }
            Glibc.close(lock)
            if code == EWOULDBLOCK { throw .inUse(path: path, record: JobDirectory.read(path)) }
            if code != 0 { throw .jobDirectory(path: path, part: path, code: SystemCode(errno: code)) }
        }
    }

    deinit { Glibc.close(lock) }

    /// Takes the lock; waits a little where the launcher that had it is dead, and its guardian about to follow. Gives 0 or an errno.
    private static func take(_ descriptor: Int32, _ path: String) -> Int32 {
        let deadline = ContinuousClock.now + .seconds(3)
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            let code = errno
            if code == EINTR { continue }
            guard code == EWOULDBLOCK, let record = read(path), !record.launcherIsAlive, ContinuousClock.now < deadline else { return code }
            usleep(10_000)
        }
        return 0
    }

    /// Shows the job as it is now: the file is always whole. What cannot be written is nobody's concern while training goes on.
    @discardableResult
    package func write(_ record: JobRecord) -> SystemCode? {
        // Without fsync: after a crash of the machine there is no job to be found anyway, and slow disks must not hold up the launcher.
        write("\(record.json.serialized(indented: true))\n", to: JobDirectory.record, mode: 0o644)
    }

    /// Leaves the job's secret for whoever may read this user's files.
    package func write(_ secret: Secret) -> SystemCode? {
        write(secret.hexadecimal + "\n", to: JobDirectory.secret, mode: 0o600)
    }

    /// The job is over. What remains is its last record; nothing, where the directory was made for it and has got nothing else.
    package func end(_ record: JobRecord?) {
        unlink("\(path)/\(JobDirectory.secret)")
        if let record { write(record) }
        guard isNew, isOtherwiseEmpty else { return }
        for name in [JobDirectory.record, JobDirectory.lockFile] { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    private var isOtherwiseEmpty: Bool {
        guard let stream = opendir(path) else { return false }
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            if ![".", "..", JobDirectory.record, JobDirectory.lockFile].contains(name) { return false }
        }
        return true
    }

    private func write(_ text: String, to name: String, mode: mode_t) -> SystemCode? {
        let temporary = "\(path)/.\(name).\(getpid())"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else { return SystemCode(errno: errno) }
        defer { Glibc.close(descriptor) }
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return failed(temporary) }
            rest = rest.dropFirst(count)
        }
        return rename(temporary, "\(path)/\(name)") == 0 ? nil : failed(temporary)
    }

    private func failed(_ temporary: String) -> SystemCode {
        let code = SystemCode(errno: errno)
        unlink(temporary)
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
        guard let file = fopen("\(path)/\(secret)", "re") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 2 * Secret.byteCount + 1)
        let count = fread(&bytes, 1, bytes.count, file)
        let text = String(decoding: bytes.prefix(count), as: UTF8.self)
        return try? Secret(hexadecimal: String(text.prefix { $0 != "\n" }))
    }

    /// Whether a launcher is at work on a directory, whose record this is.
    package static func isRunning(_ path: String, _ record: JobRecord) -> Bool {
        record.launcherIsAlive && isLocked(path)
    }

    private static func isLocked(_ path: String) -> Bool {
        let descriptor = open("\(path)/\(lockFile)", O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { Glibc.close(descriptor) }
        return flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK
    }
}

extension JobRecord {
    /// False where it is certain that the launcher is gone; a process of another host may be there.
    fileprivate var launcherIsAlive: Bool { host != currentHostName() || kill(pid, 0) == 0 || errno != ESRCH }
}
