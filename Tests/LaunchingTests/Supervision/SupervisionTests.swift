import EventLoop
import Launching
import Membership
import Testing

/// Three workers that have started.
private func three() -> Supervision {
    var supervision = Supervision(workerCount: 3)
    for rank in 0..<3 { #expect(supervision.receive(.started(rank: rank), at: .zero) == []) }
    return supervision
}

/// A worker ends, and with it its output.
extension Supervision {
    fileprivate mutating func end(_ rank: Int, _ ending: ChildProcess.Ending, at now: Duration) -> [Action] {
        receive(.exited(rank: rank, ending), at: now) + receive(.outputEnded(rank: rank), at: now)
    }
}

private let ok = ChildProcess.Ending.exited(status: 0)

@Test func aRunOfWorkersThatAllEndWellIsWell() {
    var supervision = three()
    #expect(supervision.end(1, ok, at: .seconds(1)) == [])
    #expect(supervision.end(0, ok, at: .seconds(2)) == [])
    #expect(supervision.nextDeadline == nil)
    #expect(supervision.end(2, ok, at: .seconds(3)) == [.finish(status: 0)])
    #expect(supervision.receive(.interrupt, at: .seconds(4)) == [])
}

@Test func aFailureEndsTheOthersAndIsBlamed() {
    var supervision = three()
    let failed = ChildProcess.Ending.exited(status: 3)
    #expect(
        supervision.end(1, failed, at: .seconds(1))
            == [.announce(.terminate, .failure)] + (0..<3).map { .signal(rank: $0, .terminate) })
    #expect(supervision.nextDeadline == .seconds(1) + .milliseconds(50))
    #expect(supervision.receive(.tick, at: .seconds(1) + .milliseconds(49)) == [])
    #expect(supervision.receive(.tick, at: .seconds(1) + .milliseconds(50)) == [.blame(Life(rank: 1), failed)])
    // The first may have been taken for a wish to stop after the step.
    #expect(supervision.end(0, .killed(by: .terminate), at: .milliseconds(1100)) == [])
    #expect(supervision.nextDeadline == .milliseconds(1200))
    #expect(supervision.receive(.tick, at: .milliseconds(1200)) == [.signal(rank: 2, .terminate)])
    // The grace is over for the one that does not end.
    #expect(supervision.nextDeadline == .seconds(11))
    #expect(supervision.receive(.tick, at: .seconds(11)) == [.announce(.kill, .graceIsOver), .signal(rank: 2, .kill)])
    #expect(supervision.end(2, .killed(by: .kill), at: .seconds(11)) == [.finish(status: 3)])
}

@Test func ofWhatWasSeenTogetherACrashIsToBlame() {
    var supervision = three()
    _ = supervision.end(0, .exited(status: 1), at: .seconds(1))
    _ = supervision.end(2, .killed(by: .segmentationFault), at: .seconds(1))
    let actions = supervision.end(1, .killed(by: .terminate), at: .seconds(1))
    #expect(actions == [.blame(Life(rank: 2), .killed(by: .segmentationFault)), .finish(status: 139)])
}

@Test func ofWhatWasSeenApartTheFirstIsToBlame() {
    var supervision = three()
    _ = supervision.end(0, .exited(status: 1), at: .seconds(1))
    _ = supervision.end(2, .killed(by: .segmentationFault), at: .seconds(1) + .milliseconds(1))
    #expect(supervision.receive(.tick, at: .milliseconds(1100)) == [.blame(Life(rank: 0), .exited(status: 1))])
}

@Test func aLostPeerIsToBlameOnlyIfNobodyElseIs() {
    let lost = ChildProcess.Ending.exited(status: WorkerStatus.peerLost)
    var supervision = three()
    // Whoever was told to end and fails is no better a culprit, so the first stays; nobody is blamed before all is known.
    #expect(supervision.end(0, lost, at: .seconds(1)).count == 4)
    #expect(supervision.receive(.tick, at: .milliseconds(1100)) == [])
    #expect(supervision.end(1, .exited(status: 4), at: .seconds(3)) == [])
    #expect(supervision.end(2, ok, at: .seconds(4)) == [.blame(Life(rank: 0), lost), .finish(status: WorkerStatus.peerLost)])

    // But whoever fails right after had failed already, and whoever is killed otherwise than by us did not just obey.
    for (ending, at) in [(ChildProcess.Ending.exited(status: 4), Duration.milliseconds(1400)), (.killed(by: .kill), .seconds(3))] {
        var late = three()
        _ = late.end(0, lost, at: .seconds(1))
        #expect(late.receive(.tick, at: .milliseconds(1050)) == [])
        _ = late.end(1, ending, at: at)
        #expect(late.receive(.tick, at: .seconds(4)).first == .blame(Life(rank: 1), ending))
    }

    var together = three()
    _ = together.end(0, lost, at: .seconds(1))
    #expect(together.receive(.exited(rank: 1, lost), at: .seconds(1)) == [])
}

/// Of workers that are told to end, one may see that it has lost another before it ends of the signal.
@Test(arguments: [false, true], [1, 2]) func whoIsTakenAlongByAStopObeysToo(victimFirst: Bool, interrupts: Int) {
    let lost = ChildProcess.Ending.exited(status: WorkerStatus.peerLost)
    let obeyed = ChildProcess.Ending.killed(by: interrupts == 1 ? .interrupt : .terminate)
    var supervision = three()
    for _ in 0..<interrupts { _ = supervision.receive(.interrupt, at: .seconds(1)) }
    var actions = supervision.end(victimFirst ? 1 : 0, victimFirst ? lost : obeyed, at: .milliseconds(1010))
    actions += supervision.end(victimFirst ? 0 : 1, victimFirst ? obeyed : lost, at: .milliseconds(1020))
    actions += supervision.end(2, lost, at: .milliseconds(1030))
    actions += supervision.receive(.tick, at: .milliseconds(1400))
    #expect(actions == [.finish(status: interrupts == 1 ? 130 : victimFirst ? 130 : 143)])
}

@Test func whoLosesItsPeersWithoutAnyOfThemHavingObeyedIsNamed() {
    let lost = ChildProcess.Ending.exited(status: WorkerStatus.peerLost)
    var supervision = Supervision(workerCount: 1)
    _ = supervision.receive(.started(rank: 0), at: .zero)
    _ = supervision.receive(.interrupt, at: .seconds(1))
    #expect(supervision.end(0, lost, at: .milliseconds(1010)) == [])
    #expect(supervision.receive(.tick, at: .milliseconds(1260)).last == .finish(status: WorkerStatus.peerLost))
}

/// The victim's end is seen long before the end of the one that failed: on a busy machine, or because that one still writes.
@Test(arguments: [Duration.milliseconds(1), .seconds(9)], [true, false])
func whoSaidThatItFailsIsWaitedForBeforeItsVictimsAreJudged(later: Duration, isSaid: Bool) {
    let lost = ChildProcess.Ending.exited(status: WorkerStatus.peerLost)
    var supervision = three()
    _ = supervision.receive(.formed(ranks: [0, 1, 2]), at: .zero)
    if isSaid { #expect(supervision.receive(.failing(rank: 0), at: .seconds(1)) == []) }
    var actions = supervision.end(1, lost, at: .seconds(1)) + supervision.end(2, lost, at: .seconds(1))
    let end = Duration.seconds(1) + later
    while let next = supervision.nextDeadline, next < end { actions += supervision.receive(.tick, at: next) }
    // Without a word the two are taken for workers that have lost their own connection, as far as anybody can know.
    #expect(actions.isEmpty == (isSaid || later < Supervision.Limits().judgement), "\(actions)")
    guard isSaid else { return }
    let failed = ChildProcess.Ending.exited(status: 1)
    let last = supervision.end(0, failed, at: end)
    #expect(last.suffix(2) == [.blame(Life(rank: 0), failed), .finish(status: 1)], "\(last)")
    #expect(!last.contains { if case .died = $0 { true } else { false } })
}

/// It said so, and does not end: its victims are not waited with for ever.
@Test func whoSaidThatItFailsAndDoesNotEndIsWaitedForNoLongerThanItMayTake() {
    var supervision = three()
    _ = supervision.receive(.formed(ranks: [0, 1, 2]), at: .zero)
    _ = supervision.receive(.failing(rank: 0), at: .seconds(1))
    _ = supervision.end(1, .exited(status: WorkerStatus.peerLost), at: .seconds(1))
    var actions: [Supervision.Action] = []
    while let next = supervision.nextDeadline, next < .seconds(20) { actions += supervision.receive(.tick, at: next) }
    guard case .died(let death)? = actions.first, death.rank == 1 else {
        Issue.record("\(actions)")
        return
    }
}

@Test func threeInterruptsPressHarderEachTime() {
    var supervision = three()
    func told(_ signal: Signal, _ reason: Supervision.Reason = .request) -> [Supervision.Action] {
        [.announce(signal, reason)] + (0..<3).map { .signal(rank: $0, signal) }
    }
    #expect(supervision.receive(.interrupt, at: .seconds(1)) == told(.interrupt))
    #expect(supervision.nextDeadline == nil)
    #expect(supervision.receive(.interrupt, at: .seconds(2)) == told(.terminate, .repeatedRequest))
    #expect(supervision.nextDeadline == .seconds(32))
    #expect(supervision.receive(.interrupt, at: .seconds(3)) == told(.kill, .repeatedRequest))
    #expect(supervision.receive(.interrupt, at: .seconds(3)) == [])
    for rank in 0..<2 { #expect(supervision.end(rank, .killed(by: .kill), at: .seconds(4)) == []) }
    #expect(supervision.end(2, .killed(by: .kill), at: .seconds(4)) == [.finish(status: 137)])
}

@Test func afterAnInterruptWorkersMayTakeTheirTimeAndOneThatObeysIsNoFailure() {
    var supervision = three()
    _ = supervision.receive(.interrupt, at: .seconds(1))
    #expect(supervision.end(0, .killed(by: .interrupt), at: .seconds(1)) == [])
    #expect(supervision.end(1, .exited(status: 130), at: .seconds(1000)) == [])
    #expect(supervision.end(2, ok, at: .seconds(2000)) == [.finish(status: 130)])
}

@Test func aFailureAfterAnInterruptIsAFailure() {
    var supervision = three()
    _ = supervision.receive(.interrupt, at: .seconds(1))
    let actions = supervision.end(0, .exited(status: 9), at: .seconds(2))
    #expect(actions.first == .announce(.terminate, .failure))
    #expect(supervision.receive(.tick, at: .milliseconds(2100)) == [.blame(Life(rank: 0), .exited(status: 9))])
}

@Test func twoRequestsToTerminateKill() {
    var supervision = three()
    #expect(supervision.receive(.terminate(), at: .seconds(1)).first == .announce(.terminate, .request))
    #expect(supervision.receive(.terminate(), at: .seconds(2)).first == .announce(.kill, .repeatedRequest))
}

@Test func whatCannotBeKilledIsGivenUp() {
    var supervision = three()
    _ = supervision.receive(.terminate(), at: .seconds(1))
    _ = supervision.receive(.tick, at: .seconds(31))
    _ = supervision.end(0, .killed(by: .kill), at: .seconds(31))
    // One has ended, but something outside its group holds its output.
    _ = supervision.receive(.exited(rank: 1, .killed(by: .kill)), at: .seconds(31))
    #expect(supervision.nextDeadline == .seconds(36))
    #expect(
        supervision.receive(.tick, at: .seconds(36))
            == [.closeOutput(rank: 1), .closeOutput(rank: 2), .abandon(ranks: [2]), .finish(status: 137)])
}

@Test func aWorkerThatCouldNotBeStartedEndsThoseThatWere() {
    var supervision = Supervision(workerCount: 3)
    _ = supervision.receive(.started(rank: 0), at: .zero)
    #expect(supervision.receive(.startFailed(rank: 1), at: .zero) == [.announce(.kill, .failure), .signal(rank: 0, .kill)])
    #expect(supervision.end(0, .killed(by: .kill), at: .zero) == [.finish(status: 1)])
    var first = Supervision(workerCount: 2)
    #expect(first.receive(.startFailed(rank: 0), at: .zero) == [.finish(status: 1)])
}

@Test func whatAnEndedWorkerLeavesBehindIsPressedToo() {
    var supervision = Supervision(workerCount: 2)
    for rank in 0..<2 { _ = supervision.receive(.started(rank: rank), at: .zero) }
    #expect(supervision.receive(.exited(rank: 0, ok), at: .seconds(1)) == [])
    #expect(supervision.nextDeadline == .milliseconds(1500))
    #expect(supervision.receive(.tick, at: .milliseconds(1500)) == [.signal(rank: 0, .terminate)])
    #expect(supervision.receive(.tick, at: .milliseconds(11_500)) == [.signal(rank: 0, .kill)])
    #expect(supervision.receive(.tick, at: .milliseconds(16_500)) == [.closeOutput(rank: 0)])
    #expect(supervision.nextDeadline == nil)
    #expect(supervision.end(1, ok, at: .seconds(20)) == [.finish(status: 0)])
}
