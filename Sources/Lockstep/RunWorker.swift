import Collectives
import Glibc
import Membership
import Training

/// A worker's whole life: joins the job that the environment names (or is a world of one), runs the body, leaves properly, and ends
/// the process with status 0.
///
/// Whatever the body or the join throws becomes one line on standard error, `lockstep: rank 2: ...`, and status 1, or 76 where only
/// another rank's failure is to blame, which tells a launcher whom to name. This is the one place of the library that prints,
/// since Swift itself would answer an error at top level with a crash. To handle errors yourself, call `Ring(.current())` and
/// `close()`.
///
/// Call it on the main thread, which becomes the compute thread, with as many threads for matrix products as the recipe has:
/// never more because there are few workers, or their number would be in the bits.
public func runWorker(threadsPerWorker: Int = 1, _ body: (Ring) throws -> Void) -> Never {
    signal(SIGPIPE, SIG_IGN)
    var name = ""
    // Outlives the body: the message must be out before the connections are closed, for then others end, and the launcher ends all.
    var ring: Ring?
    do {
        let environment = try WorkerEnvironment.current()
        if environment.worldSize > 1 { name = "rank \(environment.rank): " }
        _ = setThreadsPerWorker(threadsPerWorker)
        let joined = try Ring(environment)
        ring = joined
        try body(joined)
        joined.close()
    } catch {
        fflush(nil)
        if !isToldElsewhere(error) {
            let line = Array("lockstep: \(name)\(error)\n".utf8)
            _ = write(STDERR_FILENO, line, line.count)
        }
        // Without a farewell, which would have this rank taken for one that is done.
        withExtendedLifetime(ring) { exit(isConsequence(error) ? WorkerStatus.peerLost : 1) }
    }
    exit(0)
}

private func isConsequence(_ error: any Error) -> Bool {
    switch error {
    case CollectiveError.peerLost, TrainingError.failedElsewhere, MembershipError.coordinatorLost: true
    default: false
    }
}

/// Under a launcher the rank that failed has said why, on the same terminal.
private func isToldElsewhere(_ error: any Error) -> Bool {
    guard case TrainingError.failedElsewhere = error else { return false }
    return getenv("LOCKSTEP_COORDINATOR") != nil
}
