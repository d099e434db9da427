import CProcess
import Collectives
import Glibc
import Membership
import RawText
import Processes
import Synchronization
import Tensors
import Training

/// A worker's whole life: joins the job that the environment names (or is a world of one), runs the body, leaves properly, and ends
/// the process with status 0.
///
/// Whatever the body or the join throws becomes one line on standard error, `lockstep: rank 2: ...`, and status 1, or 76 where only
/// another rank's failure is to blame, which tells a launcher whom to name. A run that stopped on request ends with 75, without a line. This is the one place of the library that prints, beside
/// `Trainer.warn`, since Swift itself would answer an error at top level with a crash. To handle errors yourself, call `Ring(.current())` and
/// `close()`.
///
/// Standard output is written line by line from here on, so that what a program prints is seen at once, and not lost if it is killed.
///
/// A worker that the job no longer needs (`RingDeparture`) ends with status 0 and no word.
///
/// Call it on the main thread, which becomes the compute thread. Where a worker has cores to itself, `threadsPerWorker` of them may compute;
/// the bits are the same for any number. No signal reaches it from then on: a thread of their own takes them, with the dispositions that
/// the process has. Programs that the body starts by posix_spawn(3) begin with the compute thread's signals, all blocked, unless they are
/// given others (`POSIX_SPAWN_SETSIGMASK`).
public func runWorker(threadsPerWorker: Int = 1, _ body: (Ring) throws -> Void) -> Never {
    lockstep_process_begin()
    bufferStandardOutputByLines()
    var name = ""
    // Outlives the body: the message must be out before the connections close, for then others end, and a launcher ends them all.
    var ring: Ring?
    var hasTold = false
    do {
        try Kernels.check()
        var environment = try WorkerEnvironment.current()
        environment.threads = threadsPerWorker
        if environment.worldSize > 1 { name = "rank \(environment.rank): " }
        try StackLimit.require()
        // Before there are threads for products, which are to take no signals either.
        try ComputeThread.enter()
        try setThreadsPerWorker(threadsPerWorker)
        let isByHand = environment.isByHand
        let joined = try Ring(environment, told: MembershipReport().tell) { error in
            // Nobody else tells it, and the others may have to be waited for.
            guard isByHand else { return }
            say("\(name)\(error)")
            hasTold = true
        }
        ring = joined
        try body(joined)
        joined.close()
    } catch let stopped as RunStopped {
        // All ranks have stopped at the same step.
        ring?.close()
        guard let loss = ring?.coordinatorLoss else { exit(WorkerStatus.stopped) }
        say("\(name)\(loss); stopped after step \(stopped.step)")
        exit(WorkerStatus.peerLost)
    } catch is RingDeparture {
        // Sent home, with everything in order.
    } catch {
        fail(error, name, ring, hasTold: hasTold)
    }
    exit(0)
}

/// One line on standard error.
private func say(_ text: String) {
    let line = RawText.bytes("lockstep: \(text)\n")
    _ = write(STDERR_FILENO, line, line.count)
}

private func fail(_ error: any Error, _ name: String, _ ring: Ring?, hasTold: Bool) -> Never {
    // This worker ends anyhow, and with its own status: others that end first must not have it killed for company.
    signal(SIGTERM, SIG_IGN)
    signal(SIGINT, SIG_IGN)
    let verdict = Verdict(error, hasJoined: ring != nil)
    // Who was asked to stop before there was a ring has nothing to stop: that others have gone is no news.
    if ring == nil, verdict.isOthersDoing, let signal = StopRequest.signal { exit(128 + signal) }
    let isConsequence = verdict.isOthersDoing || verdict.culprit != nil && verdict.culprit != ring?.rank
    fflush(nil)
    // Under a launcher the rank that failed says why, on the same terminal.
    if !hasTold, !(isConsequence && verdict.isKnownToAll && WorkerEnvironment.Key.coordinator.value != nil) { say("\(name)\(error)") }
    // The launcher knows whose failure it is before it sees others end because of it.
    if !isConsequence { ring?.announceFailure("\(error)") }
    // Nobody goes before everybody knows, or those who come late would find nothing but a rank lost.
    if verdict.isKnownToAll { try? ring?.barrier() }
    if !verdict.isKnownToAll, !isConsequence { ring?.fail("\(error)") }
    // Without a farewell, which would have this rank taken for one that is done.
    withExtendedLifetime(ring) { exit(isConsequence ? WorkerStatus.peerLost : 1) }
}

/// Whose failure an error is, and who knows.
private struct Verdict {
    /// The rank whose failure it is; nil if it is none's in particular.
    var culprit: Int?
    /// Whether it is another's, whoever that is.
    var isOthersDoing = false
    /// Whether every rank throws this at the same place.
    var isKnownToAll = true

    /// - Parameter hasJoined: this worker has been in a ring.
    init(_ error: any Error, hasJoined: Bool) {
        switch error {
        case let failure as SharedFailure: culprit = failure.rank
        case TrainingError.gradientNotFinite(_, _, let rank, _), TrainingError.lossNotFinite(_, _, let rank),
            TrainingError.ranksDiffer(let rank, _):
            culprit = rank
        case TrainingError.diverged(_, let ranks, _, _): culprit = ranks.first
        case TrainingError.noWeight: culprit = 0
        case CollectiveError.peerLost(let rank, _, _, _, _):
            culprit = rank
            isKnownToAll = false
        case CollectiveError.interrupted:
            isOthersDoing = true
            isKnownToAll = false
        case MembershipError.coordinatorLost:
            isOthersDoing = true
            isKnownToAll = false
        case MembershipError.refused, MembershipError.noCoordinator:
            // Shut out of a job that goes on without it, or that is over because of another; or under a launcher, which is the coordinator
            // and lives: another life of this worker may do better.
            isOthersDoing = hasJoined || WorkerEnvironment.Key.coordinator.value != nil
            isKnownToAll = false
        default: isKnownToAll = false
        }
    }
}

/// What the coordinator tells people where this worker has it, one line for each change: who was lost, and who goes on.
private final class MembershipReport: Sendable {
    private let lost = Mutex<[String]>([])

    @Sendable func tell(_ event: MembershipEvent) {
        switch event {
        case .lost(let rank, let cause):
            lost.withLock { $0.append("lost rank \(rank): \(cause)") }
        case .formed(let generation, let ranks) where generation > 1:
            let causes = lost.withLock { causes in
                defer { causes = [] }
                return causes
            }
            say((causes + ["\(ranks.count) worker\(ranks.count == 1 ? " goes" : "s go") on"]).joined(separator: "; "))
        case .linkBroken(let rank, let other, let cause):
            lost.withLock { $0.append("rank \(rank) has no connection with rank \(other): \(cause)") }
        case .refusedStranger(let address, let cause):
            say("refused a connection from \(address): \(cause)")
        case .nobodyHere(let address):
            say("nobody takes connections at \(address) yet, where MASTER_ADDR leads; \(MembershipError.thisHostHint)")
        case .formed, .joined, .fenced, .left, .silence, .waitingForWorkers, .scale, .failing, .gaveUp: break
        }
    }
}
