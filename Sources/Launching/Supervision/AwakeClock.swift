/// The time of a process that may be stopped, alone or with its machine: time that it slept does not count, so that no
/// deadline passes while what came in time waits to be read.
///
/// Pure: its driver, `RunClock`, says what time it is, and when it wants to be woken.
package struct AwakeClock {
    /// A wake-up that comes later than this was not late because the machine is busy.
    package static let tolerance = Duration.seconds(1)

    private var asleep = Duration.zero
    private var last = Duration.zero
    /// When the driver wants to be woken, in this clock's time; nil for never.
    package var wakeAt: Duration?

    package init() {}

    /// This clock's time when it is `time` on one that never stops. A wake-up that is long past has been slept through:
    /// it is due a moment from now.
    package mutating func now(at time: Duration) -> Duration {
        var now = time - asleep
        if let wakeAt, now - wakeAt > AwakeClock.tolerance {
            now = max(last, wakeAt - AwakeClock.tolerance)
            asleep = time - now
        }
        last = max(last, now)
        return last
    }

    /// The process knows that it was stopped for this time.
    package mutating func slept(_ time: Duration) {
        asleep += time
    }
}
