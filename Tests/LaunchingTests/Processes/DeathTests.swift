import EventLoop
import Launching
import Membership
import Testing

private let ok = ChildProcess.Ending.exited(status: 0)
private let killed = ChildProcess.Ending.killed(by: .kill)
private let peerLost = ChildProcess.Ending.exited(status: WorkerStatus.peerLost)
private let stopped = ChildProcess.Ending.exited(status: WorkerStatus.stopped)

/// Three workers that have a ring.
private func three(maxRestarts: Int = 0) -> Supervision {
    var policy = Supervision.Policy()
    policy.maxRestarts = maxRestarts
    var supervision = Supervision(workerCount: 3, policy: policy)
    for rank in 0..<3 { _ = supervision.receive(.started(rank: rank), at: .zero) }
    #expect(supervision.receive(.formed(ranks: [0, 1, 2]), at: .zero) == [])
    return supervision
}

extension Supervision {
    fileprivate mutating func end(_ rank: Int, _ ending: ChildProcess.Ending, at now: Duration) -> [Action] {
        receive(.outputEnded(rank: rank), at: now) + receive(.exited(rank: rank, ending), at: now)
    }
}

private func lost(
    _ rank: Int, _ ending: ChildProcess.Ending = killed, fenced: Bool = false, remaining: Int, _ outlook: Supervision.Outlook
) -> Supervision.Action {
    .died(Supervision.Death(Life(rank: rank), ending: ending, wasFenced: fenced, remaining: remaining, outlook: outlook))
}

@Test func theOthersGoOnWithoutAWorkerThatIsKilled() {
    var supervision = three()
    #expect(supervision.end(1, killed, at: .seconds(1)) == [lost(1, remaining: 2, .noRestartsLeft)])
    #expect(supervision.nextDeadline == nil)
    _ = supervision.receive(.formed(ranks: [0, 2]), at: .seconds(1))
    #expect(supervision.end(0, ok, at: .seconds(9)) == [])
    #expect(supervision.end(2, ok, at: .seconds(9)) == [.finish(status: 0)])
}

@Test func aDeadWorkerIsStartedAgainAtOnceAndLaterAfterShortLives() {
    var supervision = three(maxRestarts: 4)
    var now = Duration.seconds(10)
    // A long life, then three short ones.
    for (number, delay) in [Duration.zero, .zero, .milliseconds(500), .seconds(1)].enumerated() {
        var actions = supervision.end(2, killed, at: now)
        #expect(actions.removeFirst() == lost(2, remaining: 2, .restart(after: delay, number: number + 1)))
        if delay > .zero {
            #expect(actions == [] && supervision.nextDeadline == now + delay && supervision.willReturn(rank: 2))
            now += delay
            actions = supervision.receive(.tick, at: now)
        }
        #expect(actions == [.start(rank: 2)])
        _ = supervision.receive(.started(rank: 2), at: now)
        _ = supervision.receive(.formed(ranks: [0, 1, 2]), at: now)
        now += .seconds(1)
    }
    #expect(supervision.end(2, killed, at: now) == [lost(2, remaining: 2, .noRestartsLeft)])
}

@Test func theNextProcessWaitsForTheOutputOfTheLast() {
    var supervision = three(maxRestarts: 1)
    let actions = supervision.receive(.exited(rank: 0, killed), at: .seconds(1))
    #expect(actions == [.signal(rank: 0, .kill), lost(0, remaining: 2, .restart(after: .zero, number: 1))])
    #expect(supervision.receive(.outputEnded(rank: 0), at: .seconds(1)) == [.start(rank: 0)])

    var held = three(maxRestarts: 1)
    _ = held.receive(.exited(rank: 0, killed), at: .seconds(1))
    #expect(held.nextDeadline == .milliseconds(1500))
    #expect(held.receive(.tick, at: .milliseconds(1500)) == [.closeOutput(rank: 0), .start(rank: 0)])
}

@Test func theLastWorkersDeathIsTheEnd() {
    var supervision = three(maxRestarts: 0)
    _ = supervision.end(0, killed, at: .seconds(1))
    _ = supervision.receive(.formed(ranks: [1, 2]), at: .seconds(1))
    _ = supervision.end(1, killed, at: .seconds(2))
    _ = supervision.receive(.formed(ranks: [2]), at: .seconds(2))
    let actions = supervision.end(2, .killed(by: .terminate), at: .seconds(3))
    #expect(actions.suffix(2) == [.blame(Life(rank: 2), .killed(by: .terminate)), .finish(status: 143)])
}

/// Nobody would be there to give it the state.
@Test func noneIsStartedAgainWhenNobodyIsLeft() {
    var supervision = three(maxRestarts: 9)
    for rank in 0..<2 { _ = supervision.receive(.exited(rank: rank, killed), at: .seconds(1)) }
    let actions = supervision.receive(.exited(rank: 2, killed), at: .seconds(1))
    #expect(actions[0] == lost(2, remaining: 0, .nobodyLeft) && actions[1] == .announce(.terminate, .failure))
    #expect(actions.allSatisfy { if case .start = $0 { false } else { true } })
    var last: [Supervision.Action] = []
    for rank in 0..<3 { last = supervision.receive(.outputEnded(rank: rank), at: .seconds(1)) }
    #expect(last == [.blame(Life(rank: 0), killed), .finish(status: 137)])
}

@Test func beforeThereIsARingADeadWorkerComesAgainOrAllEnd() {
    var policy = Supervision.Policy()
    policy.maxRestarts = 1
    var supervision = Supervision(workerCount: 2, policy: policy)
    for rank in 0..<2 { _ = supervision.receive(.started(rank: rank), at: .zero) }
    #expect(supervision.end(0, killed, at: .zero) == [lost(0, remaining: 1, .restart(after: .zero, number: 1)), .start(rank: 0)])
    _ = supervision.receive(.started(rank: 0), at: .zero)
    #expect(supervision.end(0, killed, at: .zero).first == .announce(.terminate, .failure))
}

@Test func aProgramThatCannotGoOnEndsWithItsFirstDeath() {
    // Workers of a raw ring end with the status of a lost peer, all of them, and the crash is to blame.
    var supervision = three(maxRestarts: 0)
    _ = supervision.end(1, .killed(by: .segmentationFault), at: .seconds(1))
    for rank in [0, 2] { #expect(supervision.end(rank, peerLost, at: .seconds(1)) == []) }
    #expect(supervision.nextDeadline == .milliseconds(1250))
    #expect(
        supervision.receive(.tick, at: .milliseconds(1250))
            == [.blame(Life(rank: 1), .killed(by: .segmentationFault)), .finish(status: 139)])

    var policy = Supervision.Policy()
    policy.survivesDeaths = false
    var rigid = Supervision(workerCount: 2, policy: policy)
    for rank in 0..<2 { _ = rigid.receive(.started(rank: rank), at: .zero) }
    _ = rigid.receive(.formed(ranks: [0, 1]), at: .zero)
    #expect(rigid.end(0, killed, at: .seconds(1)).first == .announce(.terminate, .failure))
}

@Test func aWorkerThatLostItsOwnConnectionIsADeath() {
    var supervision = three(maxRestarts: 1)
    #expect(supervision.receive(.disconnected(rank: 2), at: .seconds(1)) == [])
    #expect(supervision.end(2, peerLost, at: .seconds(1)) == [])
    _ = supervision.receive(.formed(ranks: [0, 1]), at: .seconds(1))
    let actions = supervision.receive(.tick, at: .milliseconds(1250))
    #expect(actions == [lost(2, peerLost, remaining: 2, .restart(after: .zero, number: 1)), .start(rank: 2)])

    // But if another one fails, it was that one's victim.
    var other = three(maxRestarts: 1)
    _ = other.end(2, peerLost, at: .seconds(1))
    _ = other.end(1, .exited(status: 4), at: .milliseconds(1100))
    #expect(other.receive(.tick, at: .milliseconds(1250)).first == .blame(Life(rank: 1), .exited(status: 4)))
}

@Test func soItIsBeforeThereIsARing() {
    func two(maxRestarts: Int) -> Supervision {
        var policy = Supervision.Policy()
        policy.maxRestarts = maxRestarts
        var supervision = Supervision(workerCount: 2, policy: policy)
        for rank in 0..<2 { _ = supervision.receive(.started(rank: rank), at: .zero) }
        return supervision
    }
    var supervision = two(maxRestarts: 1)
    #expect(supervision.end(0, peerLost, at: .seconds(1)) == [])
    let actions = supervision.receive(.tick, at: .milliseconds(1250))
    #expect(actions == [lost(0, peerLost, remaining: 1, .restart(after: .zero, number: 1)), .start(rank: 0)])

    var spent = two(maxRestarts: 0)
    #expect(spent.end(0, peerLost, at: .seconds(1)).first == .announce(.terminate, .failure))

    var victim = two(maxRestarts: 1)
    _ = victim.end(0, peerLost, at: .seconds(1))
    let ends = victim.end(1, .exited(status: 4), at: .milliseconds(1100)).suffix(2)
    #expect(ends == [.blame(Life(rank: 1), .exited(status: 4)), .finish(status: 4)])
}

@Test func aLostWorkerThatDoesNotNoticeIsEnded() {
    var supervision = three()
    _ = supervision.receive(.disconnected(rank: 1), at: .seconds(1))
    #expect(supervision.nextDeadline == .seconds(11))
    #expect(supervision.receive(.tick, at: .seconds(11)) == [.signal(rank: 1, .kill)])
    #expect(supervision.end(1, killed, at: .seconds(11)) == [lost(1, fenced: true, remaining: 2, .noRestartsLeft)])
}

@Test func aFrozenWorkerIsKilledAndComesAgain() {
    var supervision = three(maxRestarts: 1)
    #expect(supervision.receive(.fenced(rank: 0), at: .seconds(1)) == [.signal(rank: 0, .kill)])
    let actions = supervision.end(0, killed, at: .seconds(1))
    #expect(actions == [lost(0, fenced: true, remaining: 2, .restart(after: .zero, number: 1)), .start(rank: 0)])
}

@Test func aNewcomerThatFailsHurtsNobodyButAMemberThatFailsEndsAll() {
    var supervision = three(maxRestarts: 1)
    _ = supervision.end(0, killed, at: .seconds(1))
    _ = supervision.receive(.started(rank: 0), at: .seconds(1))
    _ = supervision.receive(.formed(ranks: [1, 2]), at: .seconds(1))
    #expect(supervision.end(0, .exited(status: 1), at: .seconds(2)) == [lost(0, .exited(status: 1), remaining: 2, .noRestartsLeft)])
    #expect(supervision.end(1, .exited(status: 1), at: .seconds(3)).first == .announce(.terminate, .failure))
}

@Test func afterACtrlCNobodyIsStartedAndTheStatusSaysWhy() {
    var supervision = three(maxRestarts: 5)
    _ = supervision.receive(.interrupt, at: .seconds(1))
    #expect(supervision.end(0, killed, at: .seconds(1)) == [lost(0, remaining: 2, .unneeded)])
    _ = supervision.receive(.formed(ranks: [1, 2]), at: .seconds(1))
    #expect(supervision.end(1, stopped, at: .seconds(2)) == [])
    #expect(supervision.end(2, stopped, at: .seconds(2)) == [.finish(status: 130)])
}

@Test func aRunThatEndsAllTheSameIsASuccess() {
    var supervision = three()
    _ = supervision.receive(.interrupt, at: .seconds(1))
    for rank in 0..<2 { _ = supervision.end(rank, ok, at: .seconds(1)) }
    #expect(supervision.end(2, ok, at: .seconds(1)) == [.finish(status: 0)])
}

@Test func preemptionIsPassedOnOnceWithItsOwnSignal() {
    var supervision = three()
    let actions = supervision.receive(.terminate(by: .user1), at: .seconds(1))
    #expect(actions == [.announce(.user1, .request)] + (0..<3).map { .signal(rank: $0, .user1) })
    #expect(supervision.nextDeadline == .seconds(31))
    for rank in 0..<2 { _ = supervision.end(rank, stopped, at: .seconds(2)) }
    #expect(supervision.end(2, stopped, at: .seconds(2)) == [.finish(status: 138)])
}

@Test func workersThatStopByThemselvesSayThatThereIsMoreToDo() {
    var supervision = three(maxRestarts: 1)
    for rank in 0..<2 { #expect(supervision.end(rank, stopped, at: .seconds(2)) == []) }
    // Killed on its way out.
    #expect(supervision.end(2, killed, at: .seconds(2)).last == .finish(status: 75))
}

@Test func whoDiesWhenTheWorkIsDoneIsNotMissed() {
    var supervision = three(maxRestarts: 1)
    _ = supervision.receive(.left(rank: 0), at: .seconds(1))
    #expect(supervision.end(1, killed, at: .seconds(1)) == [lost(1, remaining: 2, .unneeded)])
    _ = supervision.end(0, ok, at: .seconds(1))
    #expect(supervision.end(2, ok, at: .seconds(1)) == [.finish(status: 0)])
}

@Test func workersAreAddedAndLetGo() {
    var supervision = three()
    #expect(supervision.receive(.scale(workers: 5), at: .seconds(1)) == [.start(rank: 3), .start(rank: 4)])
    for rank in 3..<5 { _ = supervision.receive(.started(rank: rank), at: .seconds(1)) }
    _ = supervision.receive(.formed(ranks: [0, 1, 2, 3, 4]), at: .seconds(1))
    #expect(supervision.receive(.scale(workers: 2), at: .seconds(2)) == [])
    // Those that go are no sign of the end, however they go.
    _ = supervision.receive(.left(rank: 4), at: .seconds(3))
    #expect(supervision.end(4, ok, at: .seconds(3)) == [])
    #expect(supervision.end(3, killed, at: .seconds(3)) == [lost(3, remaining: 3, .unneeded)])
    // Wanted again while still going: it goes first.
    #expect(supervision.receive(.scale(workers: 3), at: .seconds(3)) == [])
    #expect(supervision.end(2, ok, at: .seconds(4)) == [.start(rank: 2)])
}

@Test func aWorkerThatCannotBeStartedAgainIsTriedLater() {
    var supervision = three(maxRestarts: 2)
    _ = supervision.end(0, killed, at: .seconds(10))
    #expect(supervision.receive(.startFailed(rank: 0), at: .seconds(10)) == [])
    #expect(supervision.nextDeadline == .milliseconds(10_500))
    #expect(supervision.receive(.tick, at: .milliseconds(10_500)) == [.start(rank: 0)])
    #expect(supervision.receive(.startFailed(rank: 0), at: .seconds(11)) == [])
    #expect(supervision.nextDeadline == nil)
    for rank in 1..<2 { _ = supervision.end(rank, ok, at: .seconds(12)) }
    #expect(supervision.end(2, ok, at: .seconds(12)) == [.finish(status: 0)])
}

/// The first that died is at work again, and has nothing yet to go on with, when the last one dies: that one is why the run ends, and the
/// other's new life is ended for company.
@Test(arguments: [Duration.zero, .milliseconds(50), .seconds(20)])
func whoDiesLastIsToBlameAndNoLifeForAnother(later: Duration) {
    var policy = Supervision.Policy()
    policy.maxRestarts = 3
    var supervision = Supervision(workerCount: 2, policy: policy)
    for rank in 0..<2 { _ = supervision.receive(.started(rank: rank), at: .zero) }
    _ = supervision.receive(.formed(ranks: [0, 1]), at: .zero)
    let died = Duration.seconds(1)
    #expect(supervision.end(0, .killed(by: .abort), at: died).last == .start(rank: 0))
    _ = supervision.receive(.started(rank: 0, life: 1), at: died)
    let last = supervision.end(1, killed, at: died + later)
    #expect(last.first == lost(1, remaining: 0, .nobodyLeft) && last.contains(.signal(rank: 0, .terminate)))
    // Seen together, the first one; its new life still goes on when it is named, and ends by our own signal.
    let life = Life(rank: later == .zero ? 0 : 1)
    let ending = later == .zero ? ChildProcess.Ending.killed(by: .abort) : killed
    let suspects = supervision.suspects
    #expect(suspects == [life])
    #expect(supervision.receive(.tick, at: died + later + .milliseconds(50)) == [.blame(life, ending)])
    #expect(supervision.end(0, .killed(by: .terminate), at: died + later + .milliseconds(60)) == [.finish(status: ending.status)])
}

/// Who is shut out is nobody to go on with.
@Test func theFencedAreNotThoseWhoGoOn() {
    var supervision = three(maxRestarts: 3)
    for rank in 0..<3 { #expect(supervision.receive(.fenced(rank: rank), at: .seconds(1)) == [.signal(rank: rank, .kill)]) }
    #expect(supervision.end(1, killed, at: .seconds(1)).first == lost(1, fenced: true, remaining: 0, .nobodyLeft))
}

@Test func whatAWorkerWasToldToDoIsObedience() {
    var supervision = three()
    func isObedience(_ ending: ChildProcess.Ending) -> Bool { supervision.isObedience(ending, of: 0) }
    #expect(isObedience(stopped) && !isObedience(.killed(by: .interrupt)) && !isObedience(killed))
    _ = supervision.receive(.interrupt, at: .seconds(1))
    #expect(isObedience(stopped) && isObedience(.killed(by: .interrupt)) && isObedience(.exited(status: 130)) && !isObedience(killed))
}

/// After a Ctrl-C the machine is wanted back: what the workers die of then is no crash.
@Test func everySignalThatWorkersWereSentIsObeyed() {
    var supervision = three()
    _ = supervision.receive(.interrupt, at: .seconds(1))
    _ = supervision.receive(.terminate(by: .user1), at: .seconds(2))
    for rank in 0..<2 { #expect(supervision.end(rank, .killed(by: .user1), at: .seconds(2)) == []) }
    #expect(supervision.end(2, .killed(by: .user1), at: .seconds(2)) == [.finish(status: 138)])
}
