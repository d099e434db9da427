import EventLoop
import Glibc
import Membership

/// What a worker's end means for itself and for the others.
extension Supervision {
    mutating func exited(_ rank: Int, _ ending: ChildProcess.Ending, at now: Duration, _ actions: inout [Action]) {
        guard workers[rank].phase == .running else { return }
        workers[rank].phase = .exited
        workers[rank].ending = ending
        workers[rank].due = nil
        if !ending.isSuccess {
            judge(rank, ending, at: now, &actions)
        } else if !workers[rank].isRetiring {
            close()
        }
        if !workers[rank].outputIsOpen {
            over(rank)
        } else if pressure.level < .terminate, workers[rank].due == nil {
            workers[rank].due = (.terminate, now + policy.limits.leftovers)
        }
    }

    /// An ending that is no success.
    private mutating func judge(_ rank: Int, _ ending: ChildProcess.Ending, at now: Duration, _ actions: inout [Action]) {
        let worker = workers[rank]
        // Who comes too late, or is to go, is not missed.
        if isClosing && hasRing && !worker.isMember || worker.isRetiring {
            return died(rank, .obeyed, at: now, &actions)
        }
        if !worker.isFenced {
            if ending == .exited(status: WorkerStatus.stopped) {
                accuse(rank, .obeyed, at: now)
                return close()
            }
            if pressure.isObedience(ending, toldUpTo: worker.told.level) { return accuse(rank, .obeyed, at: now) }
        }
        switch verdict(on: rank, ending, at: now) {
        case .crashed where worker.hasLeft || othersCanGoOn(without: rank) || isClosing && hasRing && policy.survivesDeaths && !ending.isFault:
            died(rank, .crashed, at: now, &actions)
        case .failed where hasRing && !worker.isMember && othersCanGoOn(without: rank):
            // A newcomer that fails takes nobody with it.
            died(rank, .failed, at: now, &actions)
        case .consequence
        where ending == .exited(status: WorkerStatus.peerLost) && policy.survivesDeaths && pressure.level < .terminate
            && (hasRing || othersCanGoOn(without: rank)):
            workers[rank].sequel = .judgement(at: now + policy.limits.judgement)
        case let blame:
            if blame == .crashed, hasRing, policy.survivesDeaths {
                actions.append(.lost(Loss(rank: rank, ending: ending, wasFenced: worker.isFenced, remaining: 0, outlook: .nobodyLeft)))
            }
            failed(rank, blame, at: now, &actions)
        }
    }

    private func verdict(on rank: Int, _ ending: ChildProcess.Ending, at now: Duration) -> Culprit.Blame {
        let worker = workers[rank]
        if worker.isFenced { return .crashed }
        if case .killed = ending { return .crashed }
        if ending == .exited(status: WorkerStatus.peerLost) { return .consequence }
        // What is seen in the moment in which a signal is sent happened before it.
        let toldBefore = worker.told.at + policy.limits.overlap < now ? worker.told.level : worker.told.before
        return toldBefore >= .terminate ? .consequence : .failed
    }

    private mutating func failed(_ rank: Int, _ blame: Culprit.Blame, at now: Duration, _ actions: inout [Action]) {
        // Whom the others had not yet got over may be why.
        culprit.accuseDead()
        accuse(rank, blame, at: now)
        raise(to: .terminate, .failure, at: now, &actions)
    }

    private mutating func accuse(_ rank: Int, _ blame: Culprit.Blame, at now: Duration) {
        culprit.accuse(Culprit.Suspect(rank: rank, ending: workers[rank].ending!, blame: blame, seen: now))
    }

    /// Whether there is somebody else who has what the job has come to. Before there is a ring nobody has anything, and whoever ends
    /// must come again.
    func othersCanGoOn(without rank: Int) -> Bool {
        guard policy.survivesDeaths else { return false }
        if !hasRing { return pressure.level == .none && !budget.isSpent }
        return workers.indices.contains { $0 != rank && workers[$0].phase == .running && workers[$0].isMember }
    }

    /// The others go on without this one.
    private mutating func died(_ rank: Int, _ blame: Culprit.Blame, at now: Duration, _ actions: inout [Action]) {
        let worker = workers[rank]
        if worker.isMember, !worker.hasLeft, !worker.isRetiring {
            culprit.died(Culprit.Suspect(rank: rank, ending: worker.ending!, blame: blame, seen: now))
        }
        workers[rank].isMember = false
        workers[rank].lived(now - worker.startedAt)
        // What a dead worker has started is of no use without it.
        if worker.phase == .exited, worker.outputIsOpen {
            actions.append(.signal(rank: rank, .kill))
            workers[rank].due = (.none, now + policy.limits.leftovers)
        }
        let remaining = workers.indices.count { $0 != rank && workers[$0].phase == .running }
        actions.append(
            .lost(
                Loss(
                    rank: rank, ending: worker.ending!, wasFenced: worker.isFenced, remaining: remaining,
                    outlook: outlook(after: rank, at: now))))
    }

    private mutating func outlook(after rank: Int, at now: Duration) -> Outlook {
        let worker = workers[rank]
        if isClosing || pressure.level > .none || worker.hasLeft || worker.isRetiring || rank >= wanted { return .unneeded }
        if budget.isSpent { return .noRestartsLeft }
        let delay = budget.take(shortLives: worker.shortLives)
        workers[rank].sequel = .start(at: now + delay)
        return .restart(after: delay, number: budget.used)
    }

    /// Those who ended as if by another's fault. If somebody is still at work, each has lost its own connection; if nobody is, it was the
    /// fault of one who died before, or nobody knows whose.
    mutating func judgeVictims(at now: Duration, _ actions: inout [Action]) {
        let victims = workers.indices.filter { workers[$0].isToBeJudged }
        let isDue = victims.contains { rank in
            if case .judgement(let at) = workers[rank].sequel { at <= now } else { false }
        }
        guard isDue else { return }
        for rank in victims { workers[rank].sequel = nil }
        for rank in victims {
            if othersCanGoOn(without: rank) {
                died(rank, .consequence, at: now, &actions)
            } else {
                failed(rank, .consequence, at: now, &actions)
            }
        }
    }

    mutating func over(_ rank: Int) {
        workers[rank].phase = .over
        workers[rank].due = nil
    }

    /// A worker that was not told to go has done its work, or has stopped with all others: nobody is started any more.
    mutating func close() {
        isClosing = true
        for rank in workers.indices where workers[rank].isToBeStarted { workers[rank].sequel = nil }
    }
}

extension ChildProcess.Ending {
    /// Whether the program was killed for something that it did itself, and not from outside.
    fileprivate var isFault: Bool {
        [SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS].contains { self == .killed(by: Signal($0)) }
    }
}
