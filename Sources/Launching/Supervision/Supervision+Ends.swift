import EventLoop
import Glibc
import Membership

/// What a worker's end means for itself and for the others.
extension Supervision {
    mutating func exited(_ rank: Int, _ ending: ChildProcess.Ending) {
        guard workers[rank].phase == .running else { return }
        workers[rank].phase = .exited
        workers[rank].due = nil
        if !ending.isSuccess {
            judge(EndedLife(life: workers[rank].life, ending: ending))
        } else if !workers[rank].isRetiring {
            close()
        }
        if !workers[rank].outputIsOpen {
            over(rank)
        } else if pressure.level < .terminate, workers[rank].due == nil {
            workers[rank].due = (.terminate, now + policy.limits.leftovers)
        }
    }

    mutating func outputEnded(_ rank: Int) {
        workers[rank].outputIsOpen = false
        if workers[rank].phase == .exited { over(rank) }
    }

    mutating func over(_ rank: Int) {
        workers[rank].phase = .over
        workers[rank].due = nil
    }

    /// An ending that is no success.
    private mutating func judge(_ ended: EndedLife) {
        let (rank, ending) = (ended.rank, ended.ending)
        let worker = workers[rank]
        // The others do not need one that is late, or retiring.
        if isClosing && hasRing && !worker.isMember || worker.isRetiring { return died(ended, .obeyed) }
        if isObedience(ending, of: rank) {
            accuse(ended, .obeyed)
            if ending == .exited(status: WorkerStatus.stopped) { close() }
            return
        }
        switch verdict(on: ended) {
        case .crashed where othersGoOn(after: ended):
            died(ended, .crashed)
        case .failed where hasRing && !worker.isMember && othersCanGoOn(without: rank):
            // A newcomer that fails takes no other with it.
            died(ended, .failed)
        case .consequence where ending == .exited(status: WorkerStatus.peerLost) && mayBeAVictim(rank):
            workers[rank].sequel = .judgement(of: ended, at: now + policy.limits.judgement)
        case let blame:
            let wasLast = blame == .crashed && hasRing && policy.survivesDeaths
            if wasLast {
                let death = Death(
                    ended.life, ending: ending, wasFenced: worker.isFenced, remaining: 0, outlook: .nobodyLeft)
                actions.append(.died(death))
            }
            failed(ended, blame, wasLast: wasLast)
        }
    }

    /// Whether the others do without a worker that has crashed.
    private func othersGoOn(after ended: EndedLife) -> Bool {
        workers[ended.rank].hasLeft || othersCanGoOn(without: ended.rank)
            || isClosing && hasRing && policy.survivesDeaths && !ended.ending.isFault
    }

    /// Whether to wait for the one whose end may have taken this worker along.
    private func mayBeAVictim(_ rank: Int) -> Bool {
        guard pressure.level < .terminate else { return false }
        return pressure.request != nil || policy.survivesDeaths && (hasRing || othersCanGoOn(without: rank))
    }

    private func verdict(on ended: EndedLife) -> Culprit.Blame {
        let (worker, ending) = (workers[ended.rank], ended.ending)
        if worker.isFenced { return .crashed }
        if case .killed = ending { return .crashed }
        if ending == .exited(status: WorkerStatus.peerLost) { return .consequence }
        // What is seen in the moment in which a signal is sent happened before it.
        let toldBefore = worker.told.at + policy.limits.overlap < now ? worker.told.level : worker.told.before
        return toldBefore >= .terminate ? .consequence : .failed
    }

    /// - Parameter wasLast: it crashed, and with it went what the job had come to: that is why the run ends, and no
    ///   death before.
    private mutating func failed(_ ended: EndedLife, _ blame: Culprit.Blame, wasLast: Bool = false) {
        // Deaths that the others had not yet got over may be why.
        culprit.accuseDead(at: wasLast ? now : nil)
        accuse(ended, blame)
        raise(to: .terminate, .failure)
    }

    private mutating func accuse(_ ended: EndedLife, _ blame: Culprit.Blame) {
        culprit.accuse(Culprit.Suspect(ended: ended, blame: blame, seen: now))
    }

    /// Whether another worker has what the job has come to. Before there is a ring none has anything, and one that ends
    /// must come again.
    func othersCanGoOn(without rank: Int) -> Bool {
        guard policy.survivesDeaths else { return false }
        if !hasRing { return pressure.level == .none && !budget.isSpent }
        return workers.contains { $0.life.rank != rank && $0.phase == .running && $0.isMember && !$0.isFenced }
    }

    /// The others go on without this one.
    private mutating func died(_ ended: EndedLife, _ blame: Culprit.Blame) {
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
        let death = Death(
            ended.life, ending: ended.ending, wasFenced: worker.isFenced, remaining: remaining,
            outlook: outlook(after: rank))
        actions.append(.died(death))
    }

    private mutating func outlook(after rank: Int) -> Outlook {
        let worker = workers[rank]
        if isClosing || pressure.level > .none || worker.hasLeft || worker.isRetiring || rank >= wanted {
            return .unneeded
        }
        if budget.isSpent { return .noRestartsLeft }
        let delay = budget.take(shortLives: worker.shortLives)
        workers[rank].sequel = .start(at: now + delay)
        return .restart(after: delay, number: budget.used)
    }

    /// Judges those that ended as if by another's fault. If some worker is still at work, each has lost its own
    /// connection; if none is, it was the fault of one that died before, or it is not known whose.
    mutating func judgeVictims() {
        let isDue = workers.contains { worker in
            if case .judgement(_, let at) = worker.sequel { at <= now } else { false }
        }
        guard isDue else { return }
        let victims = workers.compactMap(\.toBeJudged)
        // A worker that has said that it is about to fail is why they ended, and is seen to end soon.
        if workers.contains(where: { $0.phase == .running && $0.failsUntil ?? now > now }) {
            for victim in victims {
                workers[victim.rank].sequel = .judgement(of: victim, at: now + policy.limits.judgement)
            }
            return
        }
        for victim in victims { workers[victim.rank].sequel = nil }
        for victim in victims {
            if othersCanGoOn(without: victim.rank) {
                died(victim, .consequence)
            } else if culprit.isObedience {
                // The one whose end took it along had been told to end.
                accuse(victim, .obeyed)
            } else {
                failed(victim, .consequence)
            }
        }
    }
}

extension ChildProcess.Ending {
    /// Whether the program was killed for something that it did itself, and not from outside.
    fileprivate var isFault: Bool {
        [SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS].contains { self == .killed(by: Signal($0)) }
    }
}
