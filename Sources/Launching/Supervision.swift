import EventLoop
import Membership

/// Decides what becomes of a host's workers: who is told to end and how firmly, who is to blame, and the exit status of it all.
///
/// A pure state machine: events with their times in, actions out; no process, no clock, no socket. Its driver is `Launcher`.
///
/// Workers are pressed in three levels: SIGINT (finish the step and leave), SIGTERM, SIGKILL. A Ctrl-C raises the level by one; a
/// request to terminate raises it to SIGTERM, a second one to SIGKILL; a worker's failure raises it to SIGTERM at once. After
/// SIGTERM there is a time of grace and then SIGKILL; after SIGINT none, since a step may be long and the user is there.
///
/// The culprit is the worker that failed first, which is not always the one whose end is seen first: a peer that lost its
/// neighbour ends only moments later. See `Blame`.
package struct Supervision: ~Copyable {
    /// What the driver reports. Times are monotonic and count from any zero.
    package enum Event: Equatable, Sendable {
        case started(rank: Int)
        /// A worker could not be started, and no further one will be.
        case startFailed
        /// The worker has ended. Its output may go on: from what it has started and left behind, or from the pipe's buffer.
        case exited(rank: Int, ChildProcess.Ending)
        /// Nothing holds the worker's outputs any more.
        case outputEnded(rank: Int)
        /// SIGINT came.
        case interrupt
        /// SIGTERM or SIGHUP came.
        case terminate
        /// The time of `nextDeadline` has come.
        case tick
    }

    /// What the driver is to do, in this order.
    package enum Action: Equatable, Sendable {
        /// To the worker's whole process group.
        case signal(rank: Int, Signal)
        /// This worker's failure is the cause of whatever else may follow. At most once.
        case blame(rank: Int, ChildProcess.Ending)
        /// Somebody outside the worker's group holds its output: stop reading it.
        case closeOutput(rank: Int)
        /// The level has been raised, to this signal, for this reason.
        case announce(Signal, Reason)
        /// The workers that not even SIGKILL could end, being stuck inside the kernel.
        case abandon(ranks: [Int])
        /// All is over: exit with this status. Once, and last.
        case finish(status: Int32)
    }

    /// Why the workers are pressed harder.
    package enum Reason: Equatable, Sendable {
        case request
        case failure
        case graceIsOver
    }

    /// How long to wait before the next step.
    package struct Limits: Sendable {
        /// From SIGTERM to SIGKILL when a worker has failed.
        package var graceAfterFailure = Duration.seconds(10)
        /// From SIGTERM to SIGKILL when it was asked for from outside: there may be a checkpoint to write.
        package var graceAfterRequest = Duration.seconds(30)
        /// What a worker leaves behind, holding its output, may go on for this long before it gets SIGTERM.
        package var leftovers = Duration.milliseconds(500)
        /// From SIGKILL to giving up.
        package var kill = Duration.seconds(5)
        /// After the first failure, for the others that happened with it, before the culprit is named.
        package var settling = Duration.milliseconds(50)
        /// A worker that fails so soon after it was told to end had most likely failed before it could listen: its connections
        /// close while it still ends, so that the neighbour that lost it may be seen to end first.
        package var overlap = Duration.seconds(1)

        package init() {}
    }

    /// How far an ending makes its worker the culprit, in rising order. Among equals the first is taken; among those whose ends
    /// were seen at the same time the higher one; and the two lowest give way to a higher one that comes later, too.
    private enum Blame: Int, Comparable {
        /// It did what we had told it to.
        case obeyed
        /// It lost a peer, or failed after it was told to end.
        case consequence
        /// It ended with a status of its own.
        case failed
        /// It was killed by a signal that we did not send.
        case crashed

        static func < (left: Blame, right: Blame) -> Bool { left.rawValue < right.rawValue }
    }

    private enum Level: Int, Comparable {
        case none, interrupt, terminate, kill

        static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }

        var signal: Signal { self == .interrupt ? .interrupt : self == .terminate ? .terminate : .kill }
    }

    private struct Worker {
        enum Phase { case unstarted, running, exited, over }

        var phase = Phase.unstarted
        var outputIsOpen = true
        /// The level of the strongest signal that it was sent, when that was, and the level before.
        var told = (level: Level.none, at: Duration.zero, before: Level.none)
        /// For an exited worker whose output is still held: what comes next for the holders, and when.
        var leftovers: (next: Level, at: Duration)?
    }

    private struct Suspect {
        let rank: Int
        let ending: ChildProcess.Ending
        let blame: Blame
        let seen: Duration
    }

    private let limits: Limits
    private var workers: [Worker]
    private var level = Level.none
    /// Counts what came from outside, in levels.
    private var requested = 0
    private var suspect: Suspect?
    private var isBlamed = false
    private var blameAt: Duration?
    /// When SIGKILL is due, and when to give up after it.
    private var killAt: Duration?
    private var abandonAt: Duration?
    private var startFailed = false
    private var hasAbandoned = false
    private var isFinished = false

    /// `workerCount` workers, ranks 0 ..< workerCount on this host, none started yet.
    package init(workerCount: Int, limits: Limits = Limits()) {
        precondition(workerCount > 0, "a host without workers needs no supervision")
        workers = Array(repeating: Worker(), count: workerCount)
        self.limits = limits
    }

    /// The time at which `tick` is wanted; nil for never.
    package var nextDeadline: Duration? {
        guard !isFinished else { return nil }
        var next = [blameAt, killAt, abandonAt].compactMap { $0 }.min()
        for worker in workers {
            if let at = worker.leftovers?.at { next = min(next ?? at, at) }
        }
        return next
    }

    /// Takes one event. Events after `finish`, and ends of workers that are over, change nothing.
    package mutating func receive(_ event: Event, at now: Duration) -> [Action] {
        guard !isFinished else { return [] }
        var actions: [Action] = []
        switch event {
        case .started(let rank):
            workers[rank].phase = .running
            if level > .none { press(rank, at: now, &actions) }
        case .startFailed:
            startFailed = true
            for rank in workers.indices where workers[rank].phase == .unstarted { workers[rank].phase = .over }
            raise(to: .kill, .failure, at: now, &actions)
        case .exited(let rank, let ending):
            exited(rank, ending, at: now, &actions)
        case .outputEnded(let rank):
            workers[rank].outputIsOpen = false
            if workers[rank].phase == .exited { over(rank) }
        case .interrupt:
            requested = min(requested + 1, 3)
            raise(to: Level(rawValue: requested)!, .request, at: now, &actions)
        case .terminate:
            requested = min(max(requested + 1, 2), 3)
            raise(to: Level(rawValue: requested)!, .request, at: now, &actions)
        case .tick:
            passDeadlines(at: now, &actions)
        }
        finishIfOver(&actions)
        return actions
    }

    // MARK: Ends

    private mutating func exited(
        _ rank: Int, _ ending: ChildProcess.Ending, at now: Duration, _ actions: inout [Action]
    ) {
        guard workers[rank].phase == .running else { return }
        workers[rank].phase = .exited
        if !ending.isSuccess {
            let blame = blame(of: rank, for: ending, at: now)
            accuse(Suspect(rank: rank, ending: ending, blame: blame, seen: now))
            if blame > .obeyed { raise(to: .terminate, .failure, at: now, &actions) }
        }
        if !workers[rank].outputIsOpen {
            over(rank)
        } else if level == .none {
            workers[rank].leftovers = (.terminate, now + limits.leftovers)
        }
    }

    private func blame(of rank: Int, for ending: ChildProcess.Ending, at now: Duration) -> Blame {
        let told = workers[rank].told
        // Whoever stops a whole host's processes signals workers and launcher alike, so the moment does not matter here.
        if Self.signals(upTo: told.level).contains(where: { ending.status == 128 + $0.rawValue }) { return .obeyed }
        if ending == .exited(status: WorkerStatus.peerLost) { return .consequence }
        if case .killed = ending { return .crashed }
        // Here it does: what is seen in the moment in which a signal is sent happened before it.
        let toldBefore = told.at + limits.overlap < now ? told.level : told.before
        return toldBefore >= .terminate ? .consequence : .failed
    }

    private static func signals(upTo level: Level) -> [Signal] {
        [Level.interrupt, .terminate, .kill].filter { $0 <= level }.map(\.signal)
    }

    private mutating func accuse(_ new: Suspect) {
        guard let old = suspect else {
            suspect = new
            blameAt = new.blame > .obeyed ? new.seen + limits.settling : nil
            return
        }
        guard !isBlamed, new.blame > old.blame, old.blame <= .consequence || new.seen == old.seen else { return }
        suspect = new
        blameAt = blameAt ?? new.seen + limits.settling
    }

    private mutating func over(_ rank: Int) {
        workers[rank].phase = .over
        workers[rank].leftovers = nil
    }

    // MARK: Pressure

    private mutating func raise(to new: Level, _ reason: Reason, at now: Duration, _ actions: inout [Action]) {
        guard new > level else { return }
        level = new
        let isNeeded = workers.contains { $0.phase == .running || $0.phase == .exited }
        if isNeeded { actions.append(.announce(level.signal, reason)) }
        switch level {
        case .none, .interrupt: break
        case .terminate: killAt = now + (reason == .failure ? limits.graceAfterFailure : limits.graceAfterRequest)
        case .kill:
            killAt = nil
            abandonAt = now + limits.kill
        }
        for rank in workers.indices {
            // From here on the common deadlines hold for leftovers too.
            workers[rank].leftovers = nil
            press(rank, at: now, &actions)
        }
    }

    private mutating func press(_ rank: Int, at now: Duration, _ actions: inout [Action]) {
        guard workers[rank].phase == .running || workers[rank].phase == .exited else { return }
        let told = workers[rank].told
        workers[rank].told = (level, now, told.at < now ? told.level : told.before)
        actions.append(.signal(rank: rank, level.signal))
    }

    // MARK: Deadlines

    private mutating func passDeadlines(at now: Duration, _ actions: inout [Action]) {
        if let at = blameAt, at <= now { nameCulprit(&actions) }
        if let at = killAt, at <= now { raise(to: .kill, .graceIsOver, at: now, &actions) }
        if let at = abandonAt, at <= now { abandon(&actions) }
        for rank in workers.indices {
            guard let (next, at) = workers[rank].leftovers, at <= now else { continue }
            switch next {
            case .terminate:
                workers[rank].leftovers = (.kill, now + limits.graceAfterFailure)
                actions.append(.signal(rank: rank, .terminate))
            case .kill:
                workers[rank].leftovers = (.none, now + limits.kill)
                actions.append(.signal(rank: rank, .kill))
            case .none, .interrupt:
                actions.append(.closeOutput(rank: rank))
                over(rank)
            }
        }
    }

    private mutating func abandon(_ actions: inout [Action]) {
        abandonAt = nil
        var stuck: [Int] = []
        for rank in workers.indices {
            switch workers[rank].phase {
            case .running: stuck.append(rank)
            case .exited: break
            case .unstarted, .over: continue
            }
            actions.append(.closeOutput(rank: rank))
            over(rank)
        }
        if !stuck.isEmpty {
            hasAbandoned = true
            actions.append(.abandon(ranks: stuck))
        }
    }

    private mutating func nameCulprit(_ actions: inout [Action]) {
        blameAt = nil
        // While all that is known is a consequence, its cause may still come.
        guard let suspect, !isBlamed, suspect.blame > .consequence || workers.allSatisfy({ $0.phase == .over }) else { return }
        isBlamed = true
        actions.append(.blame(rank: suspect.rank, suspect.ending))
    }

    private mutating func finishIfOver(_ actions: inout [Action]) {
        guard workers.allSatisfy({ $0.phase == .over }) else { return }
        if let suspect, suspect.blame > .obeyed { nameCulprit(&actions) }
        isFinished = true
        let ownStatus: Int32 = startFailed || hasAbandoned ? 1 : 0
        actions.append(.finish(status: startFailed ? ownStatus : suspect?.ending.status ?? ownStatus))
    }
}
