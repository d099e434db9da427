import Glibc

/// A worker's whole life: joins the job that the environment names (or is a world of one), runs the body, leaves properly, and ends
/// the process with status 0.
///
/// Whatever the body or the join throws becomes one line on standard error, `lockstep: rank 2: ...`, and status 1, or
/// `WorkerStatus.peerLost`: this is the one
/// place of the library that prints, since Swift itself would answer an error at top level with a crash. To handle errors
/// yourself, call `Ring(.current())` and `close()`.
///
/// Call it on the main thread, which becomes the compute thread, with as many threads for matrix products as the recipe has:
/// never more because there are few workers, or their number would be in the bits.
public func runWorker(threadsPerWorker: Int = 1, _ body: (Ring) throws -> Void) -> Never {
    signal(SIGPIPE, SIG_IGN)
    var name = ""
    do {
        let environment = try WorkerEnvironment.current()
        if environment.worldSize > 1 { name = "rank \(environment.rank): " }
        _ = setThreadsPerWorker(threadsPerWorker)
        let ring = try Ring(environment)
        try body(ring)
        ring.close()
    } catch {
        fflush(nil)
        let line = Array("lockstep: \(name)\(error)\n".utf8)
        _ = write(STDERR_FILENO, line, line.count)
        exit(status(of: error))
    }
    exit(0)
}

/// A worker that ends because another did is not the one that the launcher should name.
private func status(of error: any Error) -> Int32 {
    switch error {
    case CollectiveError.peerLost, CollectiveError.noRing, MembershipError.coordinatorLost, MembershipError.refused:
        WorkerStatus.peerLost
    default: 1
    }
}
