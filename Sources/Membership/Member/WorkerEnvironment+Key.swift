import Glibc

extension WorkerEnvironment {
    /// The names of the environment variables through which a launcher, a user or a cluster tells a worker its part.
    /// Every module that reads or writes one of them takes its name from here.
    package enum Key: String, CaseIterable, Sendable {
        // torchrun's.
        case rank = "RANK"
        case worldSize = "WORLD_SIZE"
        case localRank = "LOCAL_RANK"
        case localWorldSize = "LOCAL_WORLD_SIZE"
        /// The host's number in the job; for the program, no part of Lockstep reads it.
        case groupRank = "GROUP_RANK"
        case coordinatorHost = "MASTER_ADDR"
        case coordinatorPort = "MASTER_PORT"

        // Lockstep's own.
        case secret = "LOCKSTEP_SECRET"
        case coordinator = "LOCKSTEP_COORDINATOR"
        case timeout = "LOCKSTEP_TIMEOUT"
        case peerTimeout = "LOCKSTEP_PEER_TIMEOUT"
        case joinTimeout = "LOCKSTEP_JOIN_TIMEOUT"
        case overlap = "LOCKSTEP_OVERLAP"
        /// How many times the rank has been started again; for the program, no part of Lockstep reads it.
        case restartCount = "LOCKSTEP_RESTART_COUNT"

        /// The value in this process's environment; nil if it is not set.
        package var value: String? { getenv(rawValue).map { String(cString: $0) } }
    }

    /// The value of `LOCKSTEP_COORDINATOR` where a launcher coordinates.
    static let launcherCoordinates = "launcher"

    /// This worker's place in the job, as the variables that `init(value:)` reads. Time limits and overlap are not
    /// among them: a launcher passes on its user's.
    package var encoded: [Key: String] {
        var variables: [Key: String] = [.rank: "\(rank)", .worldSize: "\(worldSize)", .localRank: "\(localRank)"]
        variables[.localWorldSize] = localWorldSize.map { "\($0)" }
        if let coordinator {
            variables[.coordinatorHost] = coordinator.host
            variables[.coordinatorPort] = "\(coordinator.port)"
            variables[.secret] = coordinator.secret.hexadecimal
            if coordinator.isLaunchers { variables[.coordinator] = WorkerEnvironment.launcherCoordinates }
        }
        return variables
    }
}
