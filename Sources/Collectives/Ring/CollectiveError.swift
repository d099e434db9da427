import EventLoop

/// Why a collective operation did not end with its sum. The caller's source memory is untouched in every case; its result
/// memory holds nothing of use.
public enum CollectiveError: Error, Equatable, CustomStringConvertible {
    /// The connection to a neighbour ended: its process died, or the network did.
    case peerLost(rank: Int, host: String, operation: UInt64, bytesMoved: UInt64, cause: String)
    /// No byte came or went for the whole time-out while operations were under way.
    case noProgress(rank: Int, waitingFor: Int, host: String, operation: UInt64, bytesMoved: UInt64, limit: Duration)
    /// The neighbour's program does another operation than ours: the two programs differ.
    case mismatch(rank: Int, operation: UInt64, theirs: String, ours: String)
    /// Bytes that no correct peer sends.
    case protocolViolation(rank: Int, fault: String)
    /// A neighbour could not be reached, or did not prove itself, when the ring was formed.
    case noRing(rank: Int, host: String, cause: String)
    /// The ring is to be formed anew, though nobody may be lost.
    case interrupted(cause: String)
    /// Only newcomers are left, who have no state of the run yet.
    case stateLost
    /// Some have ended two sections more than others: a section had no operation in which all wait for all.
    case sectionsApart(progress: [Int])
    /// The ring was closed by this process.
    case closed
    /// This worker came into a job that was running, and has not been let in yet.
    case notEntered

    /// Whether the next generation's ring can mend it.
    public var isRingFailure: Bool {
        switch self {
        case .peerLost, .noProgress, .noRing, .interrupted: true
        case .mismatch, .protocolViolation, .stateLost, .sectionsApart, .closed, .notEntered: false
        }
    }

    public var description: String {
        switch self {
        case .peerLost(let rank, let host, let operation, let bytesMoved, let cause):
            "lost rank \(rank) on \(host) in collective operation \(operation) after \(bytesMoved) bytes: \(cause)"
        case .noProgress(let rank, let waitingFor, let host, let operation, let bytesMoved, let limit):
            "rank \(rank) waited \(limit.secondsText) for rank \(waitingFor) on \(host) in collective operation \(operation), \(bytesMoved) bytes moved: "
                + "it is frozen, or the network between them is"
        case .mismatch(let rank, let operation, let theirs, let ours):
            "rank \(rank) does \(theirs) as its collective operation \(operation), this rank does \(ours): "
                + "every rank must run the same program on the same model"
        case .protocolViolation(let rank, let fault):
            "rank \(rank) sent bytes that no Lockstep worker sends: \(fault)"
        case .noRing(let rank, let host, let cause):
            "no ring connection with rank \(rank) on \(host): \(cause)"
        case .interrupted(let cause):
            "the ring was interrupted: \(cause)"
        case .stateLost:
            "no worker is left that has the run's state: resume from the newest checkpoint"
        case .sectionsApart(let progress):
            "members have ended \(progress.map(String.init).joined(separator: ", ")) sections, which differ by more than one: "
                + "every section needs an operation in which all wait for all"
        case .closed:
            "the ring was closed"
        case .notEntered:
            "this worker came into a job that was running and has no ring yet: call Ring.enter() first"
        }
    }
}
