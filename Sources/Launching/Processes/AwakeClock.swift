/// The time of a process that may be stopped, alone or with its machine: time that it slept away does not count, so that nobody's deadline
/// passes unseen while what had come in time waits to be read.
///
/// Pure: the driver says what time it is, and when it wants to be woken.
package struct AwakeClock {
    /// Later than this it was no busy machine.
    package static let tolerance = Duration.seconds(1)

    private var asleep = Duration.zero
    private var last = Duration.zero
    /// When the driver wants to be woken, in this clock's time; nil for never.
    package var wakeAt: Duration?

    package init() {}

    /// This clock's time when it is `time` on one that goes on for ever. A wish that is long past has been slept through: it is due a
    /// moment from now.
    package mutating func now(at time: Duration) -> Duration {
        var now = time - asleep
        if let wakeAt, now - wakeAt > AwakeClock.tolerance {
            now = max(last, wakeAt - AwakeClock.tolerance)
            asleep = time - now
        }
        last = max(last, now)
        return last
    }

    /// The process knows that it was stopped for so long.
    package mutating func slept(_ time: Duration) {
        asleep += time
    }
}
