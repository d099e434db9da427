import EventLoop

/// Why a worker has no place in a ring.
public enum MembershipError: Error, Equatable, CustomStringConvertible {
    case environment(name: String, value: String, wanted: String)
    case missingEnvironment(name: String)
    /// The coordinator could not be reached.
    case noCoordinator(address: String, cause: String)
    /// This worker is rank 0 of a job without launcher, and cannot be the coordinator at the address given.
    case cannotCoordinate(cause: String)
    /// The coordinator says that this worker cannot be a member, or that the ring cannot be formed.
    case refused(reason: String)
    /// The connection to the coordinator ended.
    case coordinatorLost(address: String, cause: String)

    /// What to do where an address is this host's own and no coordinator is there.
    package static let thisHostHint = "that is this host itself: if rank 0 is on another host, MASTER_ADDR must be an address of that one"

    public var description: String {
        switch self {
        case .environment(let name, let value, let wanted):
            "\(name) is \"\(value)\", which must be \(wanted)"
        case .missingEnvironment(let name):
            "\(name) is not set: start workers with `lockstep run`, or set RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT "
                + "and LOCKSTEP_SECRET for each"
        case .noCoordinator(let address, let cause):
            "no coordinator at \(address): \(cause)"
        case .cannotCoordinate(let cause):
            "this rank coordinates, at MASTER_ADDR and MASTER_PORT: \(cause)"
        case .refused(let reason):
            "the coordinator refused: \(reason)"
        case .coordinatorLost(let address, let cause):
            "lost the coordinator at \(address): \(cause)"
        }
    }
}
