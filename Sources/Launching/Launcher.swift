import Checkpoints
import EventLoop
import Glibc

/// Starts the workers of one host, passes on their output and the signals, and ends when they all have ended.
///
/// The launcher drives a `Supervision` with real processes; what it decides is there. No process stays behind: not when
/// a worker fails, not when one cannot be started, and, thanks to the `Guardian`, not when the launcher itself is
/// killed.
package struct Launcher {
    /// How it all ended.
    package struct Outcome: Equatable, Sendable {
        /// 0, or the culprit's status: its own, or 128 + the signal that killed it.
        package let status: Int32
        /// The worker that failed first; nil if none did, or if they only did as they were told.
        package let failure: WorkerFailure?
        /// Whether any worker has come to the coordinator; false where there is none.
        package let hasMetWorkers: Bool

        package init(status: Int32, failure: WorkerFailure?, hasMetWorkers: Bool = false) {
            self.status = status
            self.failure = failure
            self.hasMetWorkers = hasMetWorkers
        }
    }

    private let configuration: LaunchConfiguration

    package init(_ configuration: LaunchConfiguration) {
        self.configuration = configuration
    }

    /// Runs all workers to their end, on the calling thread.
    ///
    /// Takes over SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGTSTP for as long as it runs, those of them that the process
    /// was not started with ignored. The workers' lines, and the launcher's own about them, are written to the
    /// configuration's descriptors. Throws `LaunchError`, or what `beforeStart` throws, when the workers could not be
    /// started; none is left then.
    package func run() throws -> Outcome {
        Self.unblockSignals()
        let path = configuration.environment["PATH"] ?? Environment.current()["PATH"]
        let program = try ProgramSearch.find(configuration.program, path: path)
        try configuration.requireDescriptors(workerCount: configuration.workerCount)
        // Before anything is written: a second run must not touch what the first has.
        let job = try configuration.jobDirectory.map { (path) throws(LaunchError) in try JobDirectory(path: path) }
        var configuration = configuration
        // Workers write into the directory under their launcher's lock.
        if let job { configuration.environment[OwnLocks.environmentName] = job.lock.identity }
        let firstRank = configuration.firstRank
        let logs: LogDirectory? =
            if let directory = configuration.logDirectory {
                try LogDirectory(
                    directory, ranks: firstRank..<firstRank + configuration.workerCount, overwrites: configuration.overwritesLogs)
            } else {
                nil
            }
        // Forked first, while there is nothing yet that it could hold on to.
        let guardian = try Guardian(lock: job?.lock.descriptor)
        let host = try HostRun(configuration, program: program, guardian: guardian, logs: logs, job: job)
        defer { host.close() }
        try host.start()
        return try host.finish()
    }

    /// A process inherits the signal mask of the thread that started it, and many runtimes' threads block everything: a
    /// launcher started by one would never hear that its workers end, nor that it is to end itself.
    private static func unblockSignals() {
        var signals = sigset_t()
        sigemptyset(&signals)
        for signal in [SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGTSTP] { sigaddset(&signals, signal) }
        pthread_sigmask(SIG_UNBLOCK, &signals, nil)
    }
}
