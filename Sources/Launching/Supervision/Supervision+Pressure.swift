import EventLoop

/// The workers are pressed to end, and deadlines pass.
extension Supervision {
    mutating func raise(
        to new: Pressure.Level, by signal: Signal? = nil, _ reason: Reason, at now: Duration, _ actions: inout [Action]
    ) {
        guard pressure.raise(to: new, by: signal, reason, at: now) else { return }
        let level = pressure.level
        if workers.contains(where: \.isThere) { actions.append(.announce(pressure.signal, reason)) }
        for rank in workers.indices {
            // From here on the common deadlines hold for leftovers too, and nobody is started any more.
            if level >= .terminate { workers[rank].due = nil }
            if workers[rank].isToBeStarted { workers[rank].sequel = nil }
            if level >= .terminate, let ended = workers[rank].toBeJudged {
                culprit.died(Culprit.Suspect(ended: ended, blame: .consequence, seen: now))
                workers[rank].sequel = nil
            }
            press(rank, at: now, &actions)
        }
    }

    mutating func press(_ rank: Int, at now: Duration, _ actions: inout [Action]) {
        guard workers[rank].isThere else { return }
        let told = workers[rank].told
        workers[rank].told = (pressure.level, now, told.at < now ? told.level : told.before)
        actions.append(.signal(rank: rank, pressure.signal))
    }

    // MARK: Deadlines

    mutating func passDeadlines(at now: Duration, _ actions: inout [Action]) {
        if let at = culprit.nameAt, at <= now { nameCulprit(&actions) }
        judgeVictims(at: now, &actions)
        if let at = pressure.insistAt, at <= now {
            pressure.insisted()
            for rank in workers.indices where workers[rank].phase == .running { actions.append(.signal(rank: rank, pressure.signal)) }
        }
        if let at = pressure.killAt, at <= now { raise(to: .kill, .graceIsOver, at: now, &actions) }
        if let at = pressure.abandonAt, at <= now { abandon(&actions) }
        for rank in workers.indices {
            guard let (next, at) = workers[rank].due, at <= now else { continue }
            pass(rank, next, at: now, &actions)
        }
    }

    /// The next step with what a worker has left behind, or with one that does not notice that it is lost.
    private mutating func pass(_ rank: Int, _ next: Pressure.Level, at now: Duration, _ actions: inout [Action]) {
        if workers[rank].phase == .running {
            workers[rank].due = nil
            return fenced(rank, &actions)
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

    private mutating func abandon(_ actions: inout [Action]) {
        pressure.abandoned()
        var stuck: [Int] = []
        for rank in workers.indices where workers[rank].isThere {
            if workers[rank].phase == .running { stuck.append(rank) }
            actions.append(.closeOutput(rank: rank))
            over(rank)
        }
        if !stuck.isEmpty {
            hasAbandoned = true
            actions.append(.abandon(ranks: stuck))
        }
    }
}
