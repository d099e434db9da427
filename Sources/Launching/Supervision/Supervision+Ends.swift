import EventLoop
import Glibc
import Membership

/// What a worker's end means for itself and for the others.
extension Supervision {
    mutating func exited(_ rank: Int, _ ending: ChildProcess.Ending, at now: Duration, _ actions: inout [Action]) {
        guard workers[rank].phase == .running else { return }
        workers[rank].phase = .exited
        workers[rank].due = nil
        if !ending.isSuccess {
            judge(EndedLife(life: workers[rank].life, ending: ending), at: now, &actions)
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
    private mutating func judge(_ ended: EndedLife, at now: Duration, _ actions: inout [Action]) {
        let (rank, ending) = (ended.rank, ended.ending)
        let worker = workers[rank]
        // Who comes too late, or is to go, is not missed.
        if isClosing && hasRing && !worker.isMember || worker.isRetiring {
            return died(ended, .obeyed, at: now, &actions)
        }
        if isObedience(ending, of: rank) {
            accuse(ended, .obeyed, at: now)
            if ending == .exited(status: WorkerStatus.stopped) { close() }
            return
        }
        switch verdict(on: ended, at: now) {
        case .crashed where worker.hasLeft || othersCanGoOn(without: rank) || isClosing && hasRing && policy.survivesDeaths && !ending.isFault:
            died(ended, .crashed, at: now, &actions)
        case .failed where hasRing && !worker.isMember && othersCanGoOn(without: rank):
            // A newcomer that fails takes nobody with it.
            died(ended, .failed, at: now, &actions)
        case .consequence where ending == .exited(status: WorkerStatus.peerLost) && mayBeAVictim(rank):
            workers[rank].sequel = .judgement(of: ended, at: now + policy.limits.judgement)
        case let blame:
            let wasLast = blame == .crashed && hasRing && policy.survivesDeaths
            if wasLast {
                actions.append(
                    .lost(Loss(ended.life, ending: ending, wasFenced: worker.isFenced, remaining: 0, outlook: .nobodyLeft)))
            }
            failed(ended, blame, wasLast: wasLast, at: now, &actions)
        }
    }

    /// Whether it is worth while to wait for the one whose end took this worker along.
    private func mayBeAVictim(_ rank: Int) -> Bool {
        guard pressure.level < .terminate else { return false }
        return pressure.request != nil || policy.survivesDeaths && (hasRing || othersCanGoOn(without: rank))
    }

    private func verdict(on ended: EndedLife, at now: Duration) -> Culprit.Blame {
        let (worker, ending) = (workers[ended.rank], ended.ending)
        if worker.isFenced { return .crashed }
        if case .killed = ending { return .crashed }
        if ending == .exited(status: WorkerStatus.peerLost) { return .consequence }
        // What is seen in the moment in which a signal is sent happened before it.
        let toldBefore = worker.told.at + policy.limits.overlap < now ? worker.told.level : worker.told.before
        return toldBefore >= .terminate ? .consequence : .failed
    }

    /// - Parameter wasLast: it crashed, and with it went what the job had come to: that is why the run ends, and no death before.
    private mutating func failed(
        _ ended: EndedLife, _ blame: Culprit.Blame, wasLast: Bool = false, at now: Duration, _ actions: inout [Action]
    ) {
        // Whom the others had not yet got over may be why.
        culprit.accuseDead(at: wasLast ? now : nil)
        accuse(ended, blame, at: now)
        raise(to: .terminate, .failure, at: now, &actions)
    }

    private mutating func accuse(_ ended: EndedLife, _ blame: Culprit.Blame, at now: Duration) {
        culprit.accuse(Culprit.Suspect(ended: ended, blame: blame, seen: now))
    }

    /// Whether there is somebody else who has what the job has come to. Before there is a ring nobody has anything, and whoever ends
    /// must come again.
    func othersCanGoOn(without rank: Int) -> Bool {
        guard policy.survivesDeaths else { return false }
        if !hasRing { return pressure.level == .none && !budget.isSpent }
        return workers.contains { $0.life.rank != rank && $0.phase == .running && $0.isMember && !$0.isFenced }
    }

    /// The others go on without this one.
    private mutating func died(_ ended: EndedLife, _ blame: Culprit.Blame, at now: Duration, _ actions: inout [Action]) {
        let rank = ended.rank
        let worker = workers[rank]
        if worker.isMember, !worker.hasLeft, !worker.isRetiring {
            culprit.died(Culprit.Suspect(ended: ended, blame: blame, seen: now))
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
                    ended.life, ending: ended.ending, wasFenced: worker.isFenced, remaining: remaining,
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
        let isDue = workers.contains { worker in
            if case .judgement(_, let at) = worker.sequel { at <= now } else { false }
        }
        guard isDue else { return }
        let victims = workers.compactMap(\.toBeJudged)
        // Whoever has said that it is about to fail is why they ended, and is seen to end soon.
        if workers.contains(where: { $0.phase == .running && $0.failsUntil ?? now > now }) {
            for victim in victims { workers[victim.rank].sequel = .judgement(of: victim, at: now + policy.limits.judgement) }
            return
        }
        for victim in victims { workers[victim.rank].sequel = nil }
        for victim in victims {
            if othersCanGoOn(without: victim.rank) {
                died(victim, .consequence, at: now, &actions)
            } else if culprit.isObedience {
                // The one whose end took it along had been told to end.
                accuse(victim, .obeyed, at: now)
            } else {
                failed(victim, .consequence, at: now, &actions)
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
