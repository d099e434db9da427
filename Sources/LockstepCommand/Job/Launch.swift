import EventLoop
import Glibc
import Launching
import Lockstep
import Membership
import RawText
import Wire

/// A job that this command starts: what runs, how often, and what happens when workers die.
struct Launch {
    var program: String
    var arguments: [String]
    var workers: Int
    /// nil for programs that end with the first of their workers.
    var faults: FaultOptions?
    /// Unless the faults say otherwise.
    var usualRestarts = 0
    var jobDirectory: String?
    var logDirectory: String?
    var overwritesLogs = false
    /// Whether each line of output begins with its rank.
    var marksOutput = true

    /// Starts the workers on this host with a coordinator beside them, and waits for their end. Gives the status to exit with.
    func run() throws -> Int32 {
        var configuration = LaunchConfiguration(program: program, arguments: arguments, workerCount: workers)
        configuration.secret = try Secret.random()
        configuration.logDirectory = logDirectory
        configuration.overwritesLogs = overwritesLogs
        configuration.jobDirectory = jobDirectory
        configuration.marksOutput = marksOutput
        configuration.coordination = try coordination()
        configuration.policy.survivesDeaths = faults != nil
        configuration.policy.maxRestarts = faults.map { $0.maxRestarts ?? usualRestarts } ?? 0
        if let faults {
            configuration.environment[WorkerEnvironment.Key.peerTimeout.rawValue] = "\(Int(faults.peerTimeout.rounded(.up)))"
        }
        if let seconds = faults?.joinTimeoutVariable {
            configuration.environment[WorkerEnvironment.Key.joinTimeout.rawValue] = seconds
        }
        do {
            let outcome = try Launcher(configuration).run()
            if outcome.status == 0, !outcome.hasMetWorkers {
                throw UsageError(
                    "no worker of \"\(program)\" joined the job: it is not built on Lockstep, or ended before it made its Ring; "
                        + "what needs no ring needs no `lockstep run`")
            }
            return outcome.status
        } catch let error as LaunchError {
            printError(error.description)
            return error.status
        }
    }

    private func coordination() throws -> Coordinator.Configuration {
        var coordination = Coordinator.Configuration(worldSize: workers)
        coordination.isElastic = faults != nil
        coordination.joinTimeLimit = try WorkerEnvironment { key in
            key == .joinTimeout ? faults?.joinTimeoutVariable ?? key.value : nil
        }.joinTimeout
        guard let faults else { return coordination }
        coordination.minWorkers = faults.minWorkers
        coordination.peerTimeout = .milliseconds(Int64(faults.peerTimeout * 1000))
        coordination.rejoinTimeout = .milliseconds(Int64(faults.rejoinTimeout * 1000))
        return coordination
    }

    /// Workers that are this program with this program's arguments: each finds its rank in its environment.
    static func ofThisProgram(workers: Int, furtherArguments: [String] = []) -> Launch {
        var launch = Launch(
            program: ownPath, arguments: Array(RawText.arguments().dropFirst()) + furtherArguments, workers: workers)
        launch.marksOutput = false
        return launch
    }

    /// This program's file, by the name that `ps` should show; by the kernel's own where that file has gone.
    private static var ownPath: String {
        let link = "/proc/self/exe"
        let path = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Int(PATH_MAX)) { buffer in
            RawText.string(buffer.prefix(max(0, readlink(link, buffer.baseAddress!, buffer.count))))
        }
        return path.withFileName { access($0, X_OK) } == 0 ? path : link
    }
}
