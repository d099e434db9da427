import EventLoop
import Membership

/// Decides what becomes of a host's workers: who is told to end and how firmly, who is started again, who is to blame, and the exit
/// status of it all.
///
/// A pure state machine: events with their times in, actions out; no process, no clock, no socket. Its driver is `HostRun`.
///
/// A worker that is killed by a signal that we did not send is a **death**: once there is a ring the others go on, and it is started again
/// while restarts are left. A worker that ends with a status of its own has **failed**: the program is wrong, and all are ended. One that
/// ends because of another (`WorkerStatus.peerLost`) is judged a moment later: as that other's victim, or else as a death, since it
/// has lost its own connection. A newcomer that fails before it is let in hurts nobody, and counts as a death.
package struct Supervision: ~Copyable {
    let policy: Policy
    var workers: [SupervisedWorker]
    /// So many are wanted, the first ones.
    var wanted: Int
    var pressure: Pressure
    var culprit: Culprit
    var budget: RestartBudget
    /// Whether there has been a ring.
    var hasRing = false
    /// Whether a worker that was not told to go has done its work: then all have, or are about to.
    var isClosing = false
    var hasFailedToStart = false
    var hasAbandoned = false
    /// Whether the workers have not all come in time, which is nobody's fault in particular.
    var hasGivenUp = false
    var isFinished = false

    /// `workerCount` workers, ranks 0 ..< workerCount on this host, none started yet.
    package init(workerCount: Int, policy: Policy = Policy()) {
        precondition(workerCount > 0, "a host without workers needs no supervision")
        self.policy = policy
        workers = (0..<workerCount).map { SupervisedWorker(rank: $0) }
        wanted = workerCount
        pressure = Pressure(policy.limits)
        culprit = Culprit(settling: policy.limits.settling)
        budget = RestartBudget(limit: policy.maxRestarts)
    }

    /// The time at which `tick` is wanted; nil for never.
    package var nextDeadline: Duration? {
        guard !isFinished else { return nil }
        var next = [culprit.nameAt, pressure.nextDeadline].compactMap { $0 }.min()
        func consider(_ at: Duration) { next = min(next ?? at, at) }
        for worker in workers {
            if let at = worker.due?.at { consider(at) }
            switch worker.sequel {
            case .judgement(_, let at): consider(at)
            case .start(let at): if worker.phase == .over { consider(at) }
            case nil: break
            }
        }
        return next
    }

    /// Whether the worker, which has ended, is to be started again later: one that is to be started at once is so by an action.
    package func willReturn(rank: Int) -> Bool {
        workers[rank].isToBeStarted
    }

    /// Whether an ending of the worker is what it was told to do, or a stop that all have agreed upon. To be asked before `exited`.
    package func isObedience(_ ending: ChildProcess.Ending, of rank: Int) -> Bool {
        guard !workers[rank].isFenced else { return false }
        let told = workers[rank].told.level
        // Of workers that end at once, one may still see that it has lost another.
        if ending == .exited(status: WorkerStatus.peerLost), pressure.request != nil, told >= .terminate { return true }
        return ending == .exited(status: WorkerStatus.stopped) || pressure.isObedience(ending, toldUpTo: told)
    }

    /// Whether the run goes on if this worker cannot be started.
    package func canDoWithout(rank: Int) -> Bool { hasRing && othersCanGoOn(without: rank) }

    /// Ended lives that `blame` may yet name.
    package var suspects: [Life] { culprit.lives }

    /// Takes one event. Events after `finish`, and ends of workers that are over, change nothing.
    package mutating func receive(_ event: Event, at now: Duration) -> [Action] {
        guard !isFinished else { return [] }
        var actions: [Action] = []
        switch event {
        case .started(let rank, let life):
            workers[rank].began(life, at: now)
            if pressure.level > .none { press(rank, at: now, &actions) }
        case .startFailed(let rank):
            startFailed(rank, at: now, &actions)
        case .exited(let rank, let ending):
            exited(rank, ending, at: now, &actions)
        case .outputEnded(let rank):
            workers[rank].outputIsOpen = false
            if workers[rank].phase == .exited { over(rank) }
        case .formed(let ranks):
            formed(Set(ranks))
        case .fenced(let rank):
            fenced(rank, &actions)
        case .lost(let rank):
            lost(rank, at: now)
        case .left(let rank):
            left(rank)
        case .failing(let rank):
            workers[rank].failsUntil = now + policy.limits.graceAfterFailure
        case .scale(let count):
            scale(to: count, at: now)
        case .gaveUp:
            hasGivenUp = true
            raise(to: .terminate, .failure, at: now, &actions)
        case .interrupt:
            raise(to: pressure.interrupted(), .request, at: now, &actions)
        case .terminate(let signal):
            raise(to: pressure.terminated(by: signal), by: signal, .request, at: now, &actions)
        case .tick:
            passDeadlines(at: now, &actions)
        }
        startWhoIsDue(at: now, &actions)
        finishIfOver(&actions)
        return actions
    }

    // MARK: Membership

    private mutating func formed(_ ranks: Set<Int>) {
        hasRing = true
        for rank in workers.indices { workers[rank].isMember = ranks.contains(rank) && workers[rank].phase == .running }
        culprit.forgiveDeaths()
    }

    private mutating func lost(_ rank: Int, at now: Duration) {
        guard workers[rank].phase == .running, workers[rank].due == nil, pressure.level < .terminate else { return }
        // It is about to notice; should it not, it is ended.
        workers[rank].due = (.kill, now + policy.limits.graceAfterFailure)
    }

    mutating func fenced(_ rank: Int, _ actions: inout [Action]) {
        guard workers[rank].phase == .running, pressure.level < .kill else { return }
        workers[rank].isFenced = true
        actions.append(.signal(rank: rank, .kill))
    }

    private mutating func left(_ rank: Int) {
        guard workers[rank].phase == .running else { return }
        workers[rank].hasLeft = true
        if !workers[rank].isRetiring { close() }
    }

    private mutating func scale(to count: Int, at now: Duration) {
        guard pressure.level == .none, !isClosing, count > 0 else { return }
        wanted = count
        while workers.count < count {
            workers.append(SupervisedWorker(rank: workers.count))
            workers[workers.count - 1].phase = .over
        }
        for rank in workers.indices {
            if rank >= count {
                if workers[rank].isThere { workers[rank].isRetiring = true }
                if workers[rank].isToBeStarted { workers[rank].sequel = nil }
            } else if workers[rank].sequel == nil, workers[rank].phase == .over || workers[rank].isRetiring {
                // One that was told to go goes first.
                workers[rank].sequel = .start(at: now)
            }
        }
    }

    // MARK: Starts

    private mutating func startFailed(_ rank: Int, at now: Duration, _ actions: inout [Action]) {
        workers[rank].phase = .over
        guard canDoWithout(rank: rank) else {
            hasFailedToStart = true
            for rank in workers.indices where workers[rank].phase == .unstarted { workers[rank].phase = .over }
            return raise(to: .kill, .failure, at: now, &actions)
        }
        // The system may be short of something for the moment.
        guard rank < wanted, pressure.level == .none, !isClosing, !budget.isSpent else { return }
        workers[rank].lived(.zero)
        let delay = max(RestartBudget.firstDelay, budget.take(shortLives: workers[rank].shortLives))
        workers[rank].sequel = .start(at: now + delay)
    }

    private mutating func startWhoIsDue(at now: Duration, _ actions: inout [Action]) {
        for rank in workers.indices where workers[rank].phase == .over {
            guard case .start(let at) = workers[rank].sequel, at <= now else { continue }
            workers[rank].reset()
            actions.append(.start(rank: rank))
        }
    }

    // MARK: The end

    private var isOver: Bool { workers.allSatisfy { $0.phase == .over && $0.sequel == nil } }

    mutating func nameCulprit(_ actions: inout [Action]) {
        // While all that is known is a consequence, its cause may still come.
        if let ended = culprit.name(evenIfVictim: isOver)?.ended { actions.append(.blame(ended.life, ended.ending)) }
    }

    private mutating func finishIfOver(_ actions: inout [Action]) {
        // A worker that has been asked for and not yet started is no end.
        guard isOver, !workers.contains(where: { $0.phase == .unstarted }) else { return }
        // Whoever ended well had everybody with it in its last operation: the dead had done their part by then.
        if isClosing { culprit.forgiveDeaths() } else { culprit.accuseDead() }
        nameCulprit(&actions)
        isFinished = true
        actions.append(.finish(status: status))
    }

    private var status: Int32 {
        if hasFailedToStart || hasGivenUp { return 1 }
        // Where all have gone and none has done the work, something is wrong whoever is to blame.
        guard let suspect = culprit.suspect else { return hasAbandoned || !isClosing ? 1 : 0 }
        let ending = suspect.ended.ending
        if let request = pressure.request, suspect.blame == .obeyed,
            [WorkerStatus.stopped, WorkerStatus.peerLost].contains(where: { ending == .exited(status: $0) })
        {
            return 128 + request.rawValue
        }
        return ending.status
    }
}
