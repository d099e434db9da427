import EventLoop
import Membership

/// Decides what becomes of a host's workers: which are told to end and how firmly, which are started again, which one
/// is to blame, and the exit status of it all. A pure state machine, driven by `HostRun`: no process, no clock, no
/// socket.
///
///     starting ──a ring is formed──▶ running ──a worker is done──▶ closing(hasRing: true) ──all are over──▶ finished
///        └──a worker is done──▶ closing(hasRing: false) ──a ring is formed──────▲
///
/// It is finished from any state once all workers are over. How firmly workers are told to end is a level of its own
/// (`Pressure`), and so is what each of them does (`SupervisedWorker`).
///
/// A worker that is killed by a signal that we did not send has **died**: once there is a ring the others go on, and it
/// is started again while restarts are left. A worker that ends with a status of its own has **failed**: the program is
/// wrong, and all are ended. One that ends because of another (`WorkerStatus.peerLost`) is judged a moment later: as
/// that other's victim, or else as dead, since it has lost its own connection. A newcomer that fails before it is let
/// in counts as dead, too: the others do not need it.
package struct Supervision: ~Copyable {
    enum State: Equatable {
        /// There has been no ring yet.
        case starting
        /// The others can go on without a worker that dies.
        case running
        /// A worker that was not told to go has done its work: all have, or are about to, and none is started again.
        case closing(hasRing: Bool)
        /// `Action.finish` has been given.
        case finished
    }

    /// What is wrong with the run, whichever worker is to blame.
    enum Flaw: Int, Comparable {
        case none
        /// Not even SIGKILL has ended all workers: a failure if no worker is to blame.
        case unended
        /// The workers have never been complete, since one could not be started or did not come in time: a failure in
        /// any case.
        case incomplete

        static func < (left: Flaw, right: Flaw) -> Bool { left.rawValue < right.rawValue }
    }

    let policy: Policy
    var state = State.starting
    var flaw = Flaw.none
    var workers: [SupervisedWorker]
    /// How many are wanted, the first ones.
    var wanted: Int
    var pressure: Pressure
    var culprit: Culprit
    var budget: RestartBudget

    /// The time of the event that is being taken, and what has come of it so far.
    var now = Duration.zero
    var actions: [Action] = []

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

    /// Takes an event. Events after `finish`, and ends of workers that are over, change nothing.
    package mutating func receive(_ event: Event, at time: Duration) -> [Action] {
        guard state != .finished else { return [] }
        now = time
        switch event {
        case .started(let rank, let life): started(rank, life)
        case .startFailed(let rank): startFailed(rank)
        case .exited(let rank, let ending): exited(rank, ending)
        case .outputEnded(let rank): outputEnded(rank)
        case .formed(let ranks): formed(Set(ranks))
        case .fenced(let rank): fenced(rank)
        case .disconnected(let rank): disconnected(rank)
        case .left(let rank): left(rank)
        case .failing(let rank): workers[rank].failsUntil = now + policy.limits.graceAfterFailure
        case .scale(let count): scale(to: count)
        case .gaveUp:
            flaw = .incomplete
            raise(to: .terminate, .failure)
        case .interrupt:
            let reason = pressure.reasonOfRequest
            raise(to: pressure.interrupted(), reason)
        case .terminate(let signal):
            let reason = pressure.reasonOfRequest
            raise(to: pressure.terminated(by: signal), by: signal, reason)
        case .tick: passDeadlines()
        }
        startDueWorkers()
        finishIfOver()
        defer { actions = [] }
        return actions
    }

    /// The time at which `tick` is wanted; nil for never.
    package var nextDeadline: Duration? {
        guard state != .finished else { return nil }
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

    // MARK: What the driver may ask

    /// Whether the worker, which has ended, is to be started again later: one that is to be started at once is so by an
    /// action.
    package func willReturn(rank: Int) -> Bool {
        workers[rank].isToBeStarted
    }

    /// Whether an ending of the worker is what it was told to do, or a stop that all have agreed upon. To be asked
    /// before `exited`.
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

    // MARK: State

    var hasRing: Bool { state == .running || state == .closing(hasRing: true) }

    var isClosing: Bool { if case .closing = state { true } else { false } }

    /// A worker that was not told to go has done its work, or has stopped with all others.
    mutating func close() {
        state = .closing(hasRing: hasRing)
        for rank in workers.indices where workers[rank].isToBeStarted { workers[rank].sequel = nil }
    }

    // MARK: Membership

    private mutating func formed(_ ranks: Set<Int>) {
        state = isClosing ? .closing(hasRing: true) : .running
        for rank in workers.indices { workers[rank].isMember = ranks.contains(rank) && workers[rank].phase == .running }
        culprit.forgiveDeaths()
    }

    private mutating func disconnected(_ rank: Int) {
        guard workers[rank].phase == .running, workers[rank].due == nil, pressure.level < .terminate else { return }
        // It is about to notice; should it not, it is ended.
        workers[rank].due = (.kill, now + policy.limits.graceAfterFailure)
    }

    mutating func fenced(_ rank: Int) {
        guard workers[rank].phase == .running, pressure.level < .kill else { return }
        workers[rank].isFenced = true
        actions.append(.signal(rank: rank, .kill))
    }

    private mutating func left(_ rank: Int) {
        guard workers[rank].phase == .running else { return }
        workers[rank].hasLeft = true
        if !workers[rank].isRetiring { close() }
    }

    private mutating func scale(to count: Int) {
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

    private mutating func started(_ rank: Int, _ life: Int) {
        workers[rank].began(life, at: now)
        if pressure.level > .none { press(rank) }
    }

    private mutating func startFailed(_ rank: Int) {
        workers[rank].phase = .over
        guard canDoWithout(rank: rank) else {
            flaw = .incomplete
            for rank in workers.indices where workers[rank].phase == .unstarted { workers[rank].phase = .over }
            return raise(to: .kill, .failure)
        }
        // The system may be short of something for the moment.
        guard rank < wanted, pressure.level == .none, !isClosing, !budget.isSpent else { return }
        workers[rank].lived(.zero)
        let delay = max(RestartBudget.firstDelay, budget.take(shortLives: workers[rank].shortLives))
        workers[rank].sequel = .start(at: now + delay)
    }

    private mutating func startDueWorkers() {
        for rank in workers.indices where workers[rank].phase == .over {
            guard case .start(let at) = workers[rank].sequel, at <= now else { continue }
            workers[rank].reset()
            actions.append(.start(rank: rank))
        }
    }

    // MARK: The end

    private var isOver: Bool { workers.allSatisfy { $0.phase == .over && $0.sequel == nil } }

    mutating func nameCulprit() {
        // While all that is known is a consequence, its cause may still come.
        if let ended = culprit.name(evenIfVictim: isOver)?.ended { actions.append(.blame(ended.life, ended.ending)) }
    }

    private mutating func finishIfOver() {
        // A worker that has been asked for and not yet started is no end.
        guard isOver, !workers.contains(where: { $0.phase == .unstarted }) else { return }
        // A worker that ended well had all others with it in its last operation: those that died had done their part by
        // then.
        if isClosing { culprit.forgiveDeaths() } else { culprit.accuseDead() }
        nameCulprit()
        actions.append(.finish(status: status))
        state = .finished
    }

    private var status: Int32 {
        if flaw == .incomplete { return 1 }
        // Where all have gone and none has done the work, something is wrong whichever worker is to blame.
        guard let suspect = culprit.suspect else { return flaw == .unended || !isClosing ? 1 : 0 }
        let ending = suspect.ended.ending
        if let request = pressure.request, suspect.blame == .obeyed,
            [WorkerStatus.stopped, WorkerStatus.peerLost].contains(where: { ending == .exited(status: $0) })
        {
            return 128 + request.rawValue
        }
        return ending.status
    }
}
