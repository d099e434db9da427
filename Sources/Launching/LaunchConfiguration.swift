import EventLoop

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

    /// The job's secret in hexadecimal digits; it reaches workers in their environment only. nil leaves out the variable.
    package var secret: String?
    /// What workers get beside, and over, the launcher's own environment.
    package var environment: [String: String] = [:]
    /// Each worker's output is also written to `rank-N.log` here; the directory is made if need be.
    package var logDirectory: String?

    /// Whether each line of a worker's output begins with its rank, as `[2] `.
    package var marksOutput = true
    /// Where workers' lines go; the launcher's own go to `errorDescriptor`.
    package var outputDescriptor: Int32 = 1
    package var errorDescriptor: Int32 = 2

    package var limits = Supervision.Limits()

    /// Called on the loop before the first worker is started, for what listens beside the workers. What it returns becomes
    /// MASTER_ADDR and MASTER_PORT; with nil these stay as they are in the environment. What it throws ends the launch.
    package var beforeStart: (Loop) throws -> (address: String, port: UInt16)? = { _ in nil }
    /// Called on the loop when a worker has ended.
    package var workerExited: (_ rank: Int, ChildProcess.Ending) -> Void = { _, _ in }
    /// Called on the loop when all workers have ended, to close what `beforeStart` opened.
    package var afterEnd: () -> Void = {}

    package init(program: String, arguments: [String] = [], workerCount: Int) {
        precondition((1...LaunchConfiguration.mostWorkers).contains(workerCount), "workers of a host: 1 to 1024")
        self.program = program
        self.arguments = arguments
        self.workerCount = workerCount
        worldSize = workerCount
    }

    /// The environment of one worker: the launcher's, then torchrun's variables and ours, then what was asked for.
    func environment(localRank: Int, master: (address: String, port: UInt16)?, restartCount: Int = 0) -> Environment {
        var result = Environment.current()
        result["RANK"] = "\(firstRank + localRank)"
        result["LOCAL_RANK"] = "\(localRank)"
        result["GROUP_RANK"] = "\(hostNumber)"
        result["WORLD_SIZE"] = "\(worldSize)"
        result["LOCAL_WORLD_SIZE"] = "\(workerCount)"
        if let master {
            result["MASTER_ADDR"] = master.address
            result["MASTER_PORT"] = "\(master.port)"
        }
        if let secret { result["LOCKSTEP_SECRET"] = secret }
        result["LOCKSTEP_RESTART_COUNT"] = "\(restartCount)"
        // Several workers share the cores; the number of threads must not depend on how many do.
        if result["OMP_NUM_THREADS"] == nil { result["OMP_NUM_THREADS"] = "1" }
        result.merge(environment)
        return result
    }
}
