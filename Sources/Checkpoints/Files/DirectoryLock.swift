import Glibc
import RawText
import Synchronization

/// What keeps two runs from writing to one directory: its file `job.lock`, which whoever writes there holds locked (flock(2)), with
/// the holder's name in it.
///
/// The kernel lets go of the lock when the last process that has the file open ends, however that was.
package final class DirectoryLock: Sendable {
    /// Who has the lock.
    private struct Holder: CustomStringConvertible {
        let pid: Int32
        let host: String

        var description: String { "pid \(pid) on \(host)" }

        /// True where it is certain: a process of another host may be there. One that is dying counts, whose first thread is gone already.
        var isDead: Bool {
            guard host == DirectoryLock.hostName() else { return false }
            if kill(pid, 0) != 0 { return errno == ESRCH }
            let descriptor = Glibc.open("/proc/\(pid)/stat", O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { return false }
            defer { close(descriptor) }
            var bytes = [UInt8](repeating: 0, count: 512)
            let count = max(0, Glibc.read(descriptor, &bytes, bytes.count))
            // The state stands behind the name, which may hold anything.
            guard let name = bytes[..<count].lastIndex(of: UInt8(ascii: ")")), name + 2 < count else { return false }
            return [UInt8(ascii: "Z"), UInt8(ascii: "X")].contains(bytes[name + 2])
        }
    }

    package static let fileName = "job.lock"

    /// The locked file.
    package let descriptor: Int32
    /// Why it is not locked after all: the file system cannot.
    package let lack: LackOfLocks?

    /// More than a holder's name has.
    private static let greatestFile = 400

    /// Takes the lock of a directory, which has to be there.
    ///
    /// - Parameter patience: how long to wait for another who has it; where that one is dead already, it is about to be free.
    /// - Throws: `CheckpointError.inUse`, `.notALock` for a file of that name that is something else, `.system`.
    package init(_ directory: String, patience: Duration = .zero) throws(CheckpointError) {
        let path = DirectoryLock.path(directory)
        let now = ContinuousClock.now
        let (deadline, ofTheDead) = (now + patience, now + .seconds(3))
        while true {
            let descriptor = try DirectoryLock.open(path)
            let code = DirectoryLock.lock(descriptor)
            if DirectoryLock.meansNoLocks(code) {
                (self.descriptor, lack) = (descriptor, LackOfLocks(directory: directory, errno: code))
                return
            }
            // Whoever had it may just have taken the file away: then the lock is on nothing.
            var status = stat()
            if code == 0, fstat(descriptor, &status) == 0, status.st_nlink > 0 {
                (self.descriptor, lack) = (descriptor, nil)
                sign()
                return
            }
            let holder = DirectoryLock.holder(descriptor)
            close(descriptor)
            guard code == 0 || code == EWOULDBLOCK else { throw .system(operation: "lock", path: path, errno: code) }
            let limit = holder?.isDead == true ? max(deadline, ofTheDead) : deadline
            guard code == 0 || ContinuousClock.now < limit else { throw .inUse(path: directory, by: holder?.description) }
            usleep(10_000)
        }
    }

    deinit { close(descriptor) }

    /// Takes the file away, for a directory in which none is to stay. Others who wait for it see that it has gone.
    package func remove(from directory: String) {
        _ = DirectoryLock.path(directory).withFileName { unlink($0) }
    }

    /// The file's number on this machine, by which a process knows that the lock is its launcher's.
    package var identity: String { DirectoryLock.identity(descriptor) }

    /// Whether somebody has a directory's lock; true as well where that cannot be known.
    package static func isTaken(_ directory: String) -> Bool {
        let descriptor = path(directory).withFileName { Glibc.open($0, O_RDWR | O_CLOEXEC | O_NOFOLLOW) }
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var code: Int32
        repeat { code = flock(descriptor, LOCK_SH | LOCK_NB) == 0 ? 0 : errno } while code == EINTR
        return code == EWOULDBLOCK || meansNoLocks(code)
    }

    // MARK: The file

    private static func path(_ directory: String) -> String { "\(directory)/\(fileName)" }

    /// Opens the file, or makes it. One of that name that is not ours is neither locked nor written to.
    private static func open(_ path: String) throws(CheckpointError) -> Int32 {
        var descriptor: Int32
        repeat {
            descriptor = path.withFileName { Glibc.open($0, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o644) }
        } while descriptor < 0 && errno == EINTR
        guard descriptor >= 0 else {
            if errno == ELOOP || errno == EISDIR || errno == ENXIO { throw .notALock(path: path) }
            throw .system(operation: "open", path: path, errno: errno)
        }
        var status = stat()
        let isOurs = fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
            && (status.st_size == 0 || holder(descriptor) != nil)
        guard isOurs else {
            close(descriptor)
            throw .notALock(path: path)
        }
        return descriptor
    }

    private static func lock(_ descriptor: Int32) -> Int32 {
        while true {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return 0 }
            if errno != EINTR { return errno }
        }
    }

    private static func meansNoLocks(_ code: Int32) -> Bool {
        [ENOSYS, ENOLCK, ENOTSUP, EOPNOTSUPP, EINVAL].contains(code)
    }

    private static func identity(_ descriptor: Int32) -> String {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? "\(status.st_dev):\(status.st_ino)" : ""
    }

    /// Writes who has it; on a full disk nothing, and then others are not told who.
    private func sign() {
        let text = Array("\(getpid()) \(DirectoryLock.hostName())\n".utf8)
        ftruncate(descriptor, 0)
        if pwrite(descriptor, text, text.count, 0) != text.count { ftruncate(descriptor, 0) }
    }

    /// What is written in the file; nil if it is empty or no holder's name.
    private static func holder(_ descriptor: Int32) -> Holder? {
        var bytes = [UInt8](repeating: 0, count: greatestFile)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        guard count > 0, count < greatestFile, bytes[count - 1] == UInt8(ascii: "\n") else { return nil }
        let parts = String(decoding: bytes[..<(count - 1)], as: UTF8.self).split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count == 2, let pid = Int32(parts[0]), pid > 0 else { return nil }
        return Holder(pid: pid, host: String(parts[1]))
    }

    private static func hostName() -> String {
        var name = utsname()
        uname(&name)
        return withUnsafeBytes(of: name.nodename) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}

/// A file system that cannot lock files: nothing there keeps a second run from writing where a first one does.
public struct LackOfLocks: Sendable, Equatable, CustomStringConvertible {
    /// Where it is.
    public let directory: String
    /// What flock(2) answered.
    public let errno: Int32

    public var description: String {
        "the file system of \(directory) has no locks (\(String(cString: strerror(errno)))), so nothing keeps a second run from "
            + "writing there; the run goes on"
    }
}

/// The locks that this process has, until it ends.
package enum OwnLocks {
    /// The name of the variable by which a launcher tells its workers which lock it holds for them: the file's number.
    package static let environmentName = "LOCKSTEP_LOCK"

    private static let locks = Mutex<[String: DirectoryLock]>([:])

    /// Takes a directory's lock unless this process has it, or its launcher.
    ///
    /// - Returns: what there is to say, once: that there are no locks.
    static func take(_ directory: String, patience: Duration) throws(CheckpointError) -> LackOfLocks? {
        if isOurs(directory) { return nil }
        let lock = try DirectoryLock(directory, patience: patience)
        return locks.withLock { locks in
            locks[lock.identity] = lock
            return lock.lack
        }
    }

    /// Takes a directory's lock for a moment, unless this process has it, or its launcher. A file that was not there before does not stay.
    package static func hold<Value, Failure: Error>(
        _ directory: String, _ body: () throws(Failure) -> Value
    ) throws -> (value: Value, lack: LackOfLocks?) {
        if isOurs(directory) { return (try body(), nil) }
        let wasThere = fileExists("\(directory)/\(DirectoryLock.fileName)")
        let lock = try DirectoryLock(directory)
        defer { if !wasThere { lock.remove(from: directory) } }
        return (try body(), lock.lack)
    }

    private static func isOurs(_ directory: String) -> Bool {
        var status = stat()
        guard "\(directory)/\(DirectoryLock.fileName)".withFileName({ stat($0, &status) }) == 0 else { return false }
        let identity = "\(status.st_dev):\(status.st_ino)"
        return locks.withLock { $0[identity] != nil } || getenv(environmentName).map { String(cString: $0) } == identity
    }
}
