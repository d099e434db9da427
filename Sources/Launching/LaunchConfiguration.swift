import EventLoop
import Membership
import Wire

/// What a launcher is to start on its host.
package struct LaunchConfiguration {
    /// The most workers of one host.
    package static let mostWorkers = 1024

    /// A path, or a name to look for in PATH.
    package var program: String
    package var arguments: [String]
    package var workerCount: Int

    /// The job's workers on all hosts, the rank of this host's first, and this host's number.
    package var worldSize: Int
    package var firstRank = 0
    package var hostNumber = 0

    /// The job's secret; it reaches workers in their environment only. nil leaves out the variable.
    package var secret: Secret?
    /// What workers get beside, and over, the launcher's own environment.
    package var environment: [String: String] = [:]
    /// Each worker's output is also written to `rank-N.log` here; the directory is made if need be.
    package var logDirectory: String?
    /// Whether logs that are there already are replaced; else they are refused.
    package var overwritesLogs = false

    /// Whether each line of a worker's output begins with its rank, as `[2] `.
    package var marksOutput = true
    /// Where workers' lines go; the launcher's own go to `errorDescriptor`.
    package var outputDescriptor: Int32 = 1
    package var errorDescriptor: Int32 = 2

    /// What becomes of workers that die, and how long things may take.
    package var policy = Supervision.Policy()
    /// With these a coordinator is opened beside the workers, and they are told where; `secret` must be set.
    package var coordination: Coordinator.Configuration?
    /// Where `job.json` and `job.secret` are while the job runs, so that `lockstep scale` finds it; the directory is
    /// made if need be.
    package var jobDirectory: String?

    /// Called on the loop before the first worker is started. What it throws ends the launch.
    package var beforeStart: (Loop) throws -> Void = { _ in }

    package init(program: String, arguments: [String] = [], workerCount: Int) {
        precondition((1...LaunchConfiguration.mostWorkers).contains(workerCount), "workers of a host: 1 to 1024")
        self.program = program
        self.arguments = arguments
        self.workerCount = workerCount
        worldSize = workerCount
    }

    /// The environment of one worker: the launcher's own, then its place in the job (`WorkerEnvironment.encoded`), then
    /// `environment`.
    ///
    /// - Parameter workerCount: how many workers the host is to have now.
    func environment(
        localRank: Int, workerCount: Int, master: (address: String, port: UInt16)?, restartCount: Int
    ) -> Environment {
        var worker = WorkerEnvironment()
        worker.rank = firstRank + localRank
        worker.localRank = localRank
        worker.worldSize = worldSize - self.workerCount + workerCount
        worker.localWorldSize = workerCount
        if let master, let secret {
            worker.coordinator = .init(
                host: master.address, port: master.port, secret: secret, isOurs: false, isLaunchers: true)
        }
        var result = Environment.current()
        for (key, value) in worker.encoded { result[key] = value }
        result[.secret] = secret?.hexadecimal ?? result[.secret]
        result[.groupRank] = "\(hostNumber)"
        result[.restartCount] = "\(restartCount)"
        // Several workers share the cores; the number of threads must not depend on how many do.
        if result["OMP_NUM_THREADS"] == nil { result["OMP_NUM_THREADS"] = "1" }
        result.merge(environment)
        return result
    }
}

extension Environment {
    /// A variable that tells a worker its part.
    fileprivate subscript(key: WorkerEnvironment.Key) -> String? {
        get { self[key.rawValue] }
        set { self[key.rawValue] = newValue }
    }
}
