import EventLoop

/// How firmly the workers are told to end, in three levels: SIGINT (finish the step and leave), SIGTERM, SIGKILL, and
/// when the next is due.
///
/// A Ctrl-C raises the level by one; a request to terminate raises it to SIGTERM, a second one to SIGKILL; a worker's
/// failure raises it to SIGTERM at once. After SIGTERM there is a time of grace and then SIGKILL; after SIGINT none,
/// since a step may be long and the user is there.
struct Pressure {
    enum Level: Int, Comparable {
        case none, interrupt, terminate, kill

        static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }
    }

    private(set) var level = Level.none
    /// The signal of the current level.
    private(set) var signal = Signal.interrupt
    /// The first signal by which the end was asked for from outside.
    private(set) var request: Signal?
    /// What workers have been sent at this level and those before.
    private var given: Set<Signal> = []
    /// When SIGTERM is to be repeated, when SIGKILL is due, and when to give up after it.
    private(set) var insistAt: Duration?
    private(set) var killAt: Duration?
    private(set) var abandonAt: Duration?
    /// Counts what came from outside, in levels.
    private var requested = 0
    private let limits: Supervision.Limits

    init(_ limits: Supervision.Limits) {
        self.limits = limits
    }

    var nextDeadline: Duration? { [insistAt, killAt, abandonAt].compactMap { $0 }.min() }

    /// Why the level rises if a signal asks for it now.
    var reasonOfRequest: Supervision.Reason { request == nil ? .request : .repeatedRequest }

    /// A Ctrl-C: the level that it asks for.
    mutating func interrupted() -> Level {
        requested = min(requested + 1, 3)
        request = request ?? .interrupt
        return Level(rawValue: requested)!
    }

    /// A request to terminate: the level that it asks for.
    mutating func terminated(by signal: Signal) -> Level {
        requested = min(max(requested + 1, 2), 3)
        request = request ?? signal
        return Level(rawValue: requested)!
    }

    /// Raises the level, if it is not that high already, and drops what was due at the one before.
    mutating func raise(
        to new: Level, by requested: Signal? = nil, _ reason: Supervision.Reason, at now: Duration
    ) -> Bool {
        guard new > level else { return false }
        level = new
        insistAt = nil
        switch level {
        case .none, .interrupt:
            signal = .interrupt
        case .terminate:
            signal = requested ?? .terminate
            killAt = now + (reason == .failure ? limits.graceAfterFailure : limits.graceAfterRequest)
            if reason == .failure { insistAt = now + limits.insistence }
        case .kill:
            signal = .kill
            killAt = nil
            abandonAt = now + limits.kill
        }
        if signal != .kill { given.insert(signal) }
        return true
    }

    mutating func insisted() { insistAt = nil }
    mutating func abandoned() { abandonAt = nil }

    /// Whether a worker that has been told to end up to this level ends like that.
    func isObedience(_ ending: ChildProcess.Ending, toldUpTo told: Level) -> Bool {
        guard told > .none else { return false }
        var signals = [Signal.interrupt, .terminate]
        signals += given
        if told < .terminate { signals = [.interrupt] }
        if told == .kill { signals.append(.kill) }
        return signals.contains { ending.status == 128 + $0.rawValue }
    }
}
