import EventLoop

/// The workers are pressed to end, and deadlines pass.
extension Supervision {
    mutating func raise(to new: Pressure.Level, by signal: Signal? = nil, _ reason: Reason) {
        guard pressure.raise(to: new, by: signal, reason, at: now) else { return }
        let level = pressure.level
        if workers.contains(where: \.isThere) { actions.append(.announce(pressure.signal, reason)) }
        for rank in workers.indices {
            // From here on the common deadlines hold for leftovers too, and no worker is started any more.
            if level >= .terminate { workers[rank].due = nil }
            if workers[rank].isToBeStarted { workers[rank].sequel = nil }
            if level >= .terminate, let ended = workers[rank].toBeJudged {
                culprit.died(Culprit.Suspect(ended: ended, blame: .consequence, seen: now))
                workers[rank].sequel = nil
            }
            press(rank)
        }
    }

    mutating func press(_ rank: Int) {
        guard workers[rank].isThere else { return }
        let told = workers[rank].told
        workers[rank].told = (pressure.level, now, told.at < now ? told.level : told.before)
        actions.append(.signal(rank: rank, pressure.signal))
    }

    // MARK: Deadlines

    mutating func passDeadlines() {
        if let at = culprit.nameAt, at <= now { nameCulprit() }
        judgeVictims()
        if let at = pressure.insistAt, at <= now {
            pressure.insisted()
            for rank in workers.indices where workers[rank].phase == .running {
                actions.append(.signal(rank: rank, pressure.signal))
            }
        }
        if let at = pressure.killAt, at <= now { raise(to: .kill, .graceIsOver) }
        if let at = pressure.abandonAt, at <= now { abandon() }
        for rank in workers.indices {
            guard let (next, at) = workers[rank].due, at <= now else { continue }
            pass(rank, next)
        }
    }

    /// The next step with what a worker has left behind, or with one that does not notice that its connection is lost.
    private mutating func pass(_ rank: Int, _ next: Pressure.Level) {
        if workers[rank].phase == .running {
            workers[rank].due = nil
            return fenced(rank)
        }
        switch next {
        case .terminate:
            workers[rank].due = (.kill, now + policy.limits.graceAfterFailure)
            actions.append(.signal(rank: rank, .terminate))
        case .kill:
            workers[rank].due = (.none, now + policy.limits.kill)
            actions.append(.signal(rank: rank, .kill))
        case .none, .interrupt:
            actions.append(.closeOutput(rank: rank))
            over(rank)
        }
    }

    private mutating func abandon() {
        pressure.abandoned()
        var stuck: [Int] = []
        for rank in workers.indices where workers[rank].isThere {
            if workers[rank].phase == .running { stuck.append(rank) }
            actions.append(.closeOutput(rank: rank))
            over(rank)
        }
        guard !stuck.isEmpty else { return }
        flaw = max(flaw, .unended)
        actions.append(.abandon(ranks: stuck))
    }
}
