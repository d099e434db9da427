import Glibc
import RawText

/// The file of `--metrics`: one JSON object a line, one line a step.
///
/// Each record goes out as a whole line in one write(2), so that a reader that follows the file sees whole lines, and
/// whatever was appended survives the death of the process. Nothing but a metrics file is ever written to, and none is
/// emptied unless that is asked for. Used by one thread at a time; closed with the last reference.
public final class MetricsFile {
    /// The file's path.
    public let path: String
    private let descriptor: Int32
    /// Where the next record begins: everything before is whole records.
    private var end = 0
    /// Whether a part of a record may stand behind `end`, because it could neither be completed nor cut off.
    private var isTorn = false
    /// The step of the last record in the file; nil if there is none.
    public private(set) var lastStep: Int?

    /// How long the file may be held by another process: one that was killed a moment ago lets go of it by and by.
    private static let patience = Duration.seconds(3)

    /// Opens the file for a run, and locks it where the file system can.
    ///
    /// - Parameters:
    ///   - path: a file that is not there yet, or is empty; or a metrics file, to replace or to continue. A symbolic link is
    ///     not followed, and a file with further names (hard links) is left alone, since they would change with it.
    ///   - resumedStep: the number of steps that were committed when the run resumes; nil for a run that begins.
    ///     Records of later steps are cut off, and so is a last line that was not completed: the run will make them again.
    ///   - overwrites: whether a run that begins may empty the metrics file of another.
    /// - Throws: `TelemetryError`; what was at the path is then as it was.
    public init(path: String, resumedStep: Int? = nil, overwrites: Bool = false) throws(TelemetryError) {
        self.path = path
        try MetricsFile.checkKind(path)
        // Whatever has come to the path since is not waited for, nor made the terminal of this process.
        let flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY
        descriptor = try MetricsFile.call("open", path) { path.withFileName { open($0, flags, 0o666) } }
        // From here on an error closes the file, by `deinit`.
        var status = stat()
        _ = try MetricsFile.call("look at", path) { fstat(descriptor, &status) }
        try MetricsFile.check(status, path)
        try MetricsFile.lock(descriptor, path)
        let records = try Records(descriptor: descriptor, path: path, keepingSteps: resumedStep ?? 0)
        if resumedStep == nil, !overwrites, let last = records.lastStep { throw .anotherRun(path: path, lastStep: last) }
        end = records.keptBytes
        lastStep = records.lastKeptStep
        try cut()
    }

    deinit {
        close(descriptor)
    }

    /// Appends a record.
    ///
    /// - Throws: `TelemetryError.system`. The file then ends with the record before; where not even that can be had, the next
    ///   call begins by cutting off what stands behind it.
    public func append(_ metrics: StepMetrics) throws(TelemetryError) {
        if isTorn { try cut() }
        let line = Array((metrics.json + "\n").utf8)
        do throws(TelemetryError) {
            var written = 0
            while written < line.count {
                let rest = line[written...]
                let count = try MetricsFile.call("write", path) { rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) } }
                // No progress and no error: some network file systems do so when they are full.
                if count == 0 { throw .system(operation: "write", path: path, errno: ENOSPC) }
                isTorn = true
                written += count
            }
        } catch {
            try? cut()
            throw error
        }
        isTorn = false
        end += line.count
        lastStep = metrics.step
    }

    /// Leaves whole records only.
    private func cut() throws(TelemetryError) {
        _ = try MetricsFile.call("cut", path) { ftruncate(descriptor, off_t(end)) }
        isTorn = false
    }

    // MARK: What is at the path

    /// Looks before opening, since to open a device can already do something to it.
    private static func checkKind(_ path: String) throws(TelemetryError) {
        var status = stat()
        guard path.withFileName({ lstat($0, &status) }) == 0 else { return }
        try check(status, path)
    }

    private static func check(_ status: stat, _ path: String) throws(TelemetryError) {
        switch status.st_mode & S_IFMT {
        case S_IFREG: if status.st_nlink > 1 { throw .hasOtherNames(path: path, count: Int(status.st_nlink)) }
        case S_IFDIR: throw .system(operation: "open", path: path, errno: EISDIR)
        case S_IFLNK: throw .isSymbolicLink(path: path)
        default: throw .isNoFile(path: path)
        }
    }

    /// A file system without locks has nothing to say here; the run's directory speaks of it.
    private static func lock(_ descriptor: Int32, _ path: String) throws(TelemetryError) {
        let deadline = ContinuousClock.now + patience
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            if errno == EINTR { continue }
            guard errno == EWOULDBLOCK else { return }
            guard ContinuousClock.now < deadline else { throw .inUse(path: path) }
            usleep(10_000)
        }
    }

    static func call<Number: SignedInteger>(
        _ operation: String, _ path: String, _ body: () -> Number
    ) throws(TelemetryError) -> Number {
        while true {
            let result = body()
            if result >= 0 { return result }
            // Made again for as long as a signal interrupts it.
            if errno != EINTR { throw .system(operation: operation, path: path, errno: errno) }
        }
    }
}
