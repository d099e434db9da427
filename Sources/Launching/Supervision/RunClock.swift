import EventLoop

/// The time of a run, without what this process slept through: one time for all that one pass of the loop finds, since
/// it is not known which of those events came first.
struct RunClock {
    private let started = SuspendingClock.now
    private var awake = AwakeClock()
    private var last: (pass: UInt, time: Duration) = (0, .zero)

    mutating func now(pass: UInt) -> Duration {
        if last.pass != pass { last = (pass, awake.now(at: SuspendingClock.now - started)) }
        return last.time
    }

    /// When the driver wants to be woken; nil for never.
    var wakeAt: Duration? {
        get { awake.wakeAt }
        set { awake.wakeAt = newValue }
    }

    /// The process stops in `body`: that time does not count.
    mutating func sleep(_ body: () -> Void) {
        let before = SuspendingClock.now
        body()
        awake.slept(SuspendingClock.now - before)
    }
}
