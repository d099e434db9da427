import EventLoop
import Glibc
import Membership
import Wire

/// Keeps a job's record and its file, `job.json`, in step: the file follows at the end of a pass of the loop, however
/// much has changed in it. Confined to the loop's thread.
final class JobJournal: @unchecked Sendable {
    // SAFETY (@unchecked Sendable): read and written on the loop's thread only.

    /// How the file compares with the record.
    private enum File {
        case current
        /// It is written at the end of this pass of the loop. `afterFailure`: the last try to write it has failed.
        case due(afterFailure: Bool)
        /// It could not be written, and is tried again when the timer fires.
        case failed

        var hasFailed: Bool {
            switch self {
            case .current: false
            case .due(let afterFailure): afterFailure
            case .failed: true
            }
        }
    }

    private let directory: JobDirectory
    private let loop: Loop
    private let say: (String) -> Void
    private let timer: Timer
    private var file = File.current
    /// nil before `begin`.
    private var record: JobRecord?

    private static let retryTime = Duration.seconds(1)

    init(_ directory: JobDirectory, loop: Loop, say: @escaping (String) -> Void) throws(LoopError) {
        self.directory = directory
        self.loop = loop
        self.say = say
        weak var journal: JobJournal?
        timer = try Timer(loop: loop) { journal?.write() }
        journal = self
    }

    /// Why the directory's lock does not hold everywhere, for people; nil if it does.
    var lockFault: String? { directory.lock.lack?.description }

    /// Leaves the secret and the first record in the directory.
    func begin(coordinator: String, _ secret: Secret) throws(LaunchError) {
        let record = JobRecord(coordinator: coordinator, pid: getpid(), host: currentHostName())
        self.record = record
        if let code = directory.write(secret) ?? directory.write(record) {
            throw .jobDirectory(path: directory.path, part: directory.path, code: code)
        }
    }

    func change(_ body: (inout JobRecord) -> Void) {
        guard var record, record.status == nil else { return }
        body(&record)
        guard record != self.record else { return }
        self.record = record
        if case .due = file { return }
        file = .due(afterFailure: file.hasFailed)
        _ = loop.enqueue { [weak self] in self?.write() }
    }

    /// Training goes on without it: that it cannot be written is said once, and it is tried again.
    private func write() {
        guard let record, record.status == nil else { return }
        guard let code = directory.write(record) else {
            file = .current
            return timer.stop()
        }
        if !file.hasFailed { say(LaunchReport.recordNotWritten(directory.path, code, isLast: false)) }
        file = .failed
        timer.start(after: JobJournal.retryTime)
    }

    /// All workers have ended, and with this status the run.
    func end(_ status: Int32) {
        record?.status = status
        timer.stop()
        if let code = directory.end(record) { say(LaunchReport.recordNotWritten(directory.path, code, isLast: true)) }
    }
}
