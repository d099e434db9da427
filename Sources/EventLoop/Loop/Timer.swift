import CLibuv

/// A one-shot or repeating timer (`uv_timer_t`), in milliseconds. Confined to the loop's thread.
///
/// Starting and stopping allocates nothing, so that a deadline can be moved with every message.
///
/// Where the process was stopped over a deadline (Ctrl-Z, SIGSTOP), what came in time has not been read yet: the timer fires a moment later,
/// so that nobody is taken for silent because of this process's own sleep.
package final class Timer: Handle {
    private let timer: UnsafeMutablePointer<uv_timer_t>
    private let fired: () -> Void
    /// When it is to fire, on libuv's clock; nil once it has been put off, and for one that repeats.
    private var due: UInt64?

    /// Later than this is not a busy machine, and so long it is put off then: others may have been stopped too, and be slower to wake.
    private static let oversleepMilliseconds: UInt64 = 1000

    /// Makes a timer that is not running. `fired` runs on the loop's thread and may start, stop or close it; it is kept until
    /// the timer is closed, so it must not keep the timer's owner alive by itself.
    package init(loop: Loop, fired: @escaping () -> Void) throws(LoopError) {
        self.fired = fired
        timer = try makeHandle("uv_timer_init") { uv_timer_init(loop.raw, $0) }
        super.init(loop: loop, initialized: timer)
    }

    /// Fires once, `delay` from now: never earlier, and up to 2 ms later since libuv counts whole milliseconds. Forgets an
    /// earlier start.
    package func start(after delay: Duration) {
        // One more than asked for, since the millisecond that libuv takes for now began some time ago.
        let milliseconds = delay.millisecondsRoundedUp
        start(after: milliseconds == 0 ? 0 : milliseconds + 1, repeating: 0)
    }

    /// Fires every `interval`, the first time one interval from now. Ticks that were missed while the loop was busy are not made
    /// up for.
    package func start(every interval: Duration) {
        let milliseconds = max(1, interval.millisecondsRoundedUp)
        start(after: milliseconds, repeating: milliseconds)
    }

    private func start(after delay: UInt64, repeating interval: UInt64) {
        loop.preconditionOnThread()
        precondition(!isClosed, "start on a closed timer")
        // The loop's clock stands still during an iteration: without this a long callback would shorten the delay.
        uv_update_time(loop.raw)
        uv_timer_start(
            timer,
            { handle in
                let timer: Timer = Handle.of(handle!)
                if timer.wasSleptThrough { return timer.putOff() }
                timer.loop.activity &+= 1
                timer.fired()
            }, delay, interval)
        due = interval == 0 ? uv_now(loop.raw) &+ delay : nil
    }

    private var wasSleptThrough: Bool {
        guard let due, due < uv_now(loop.raw) else { return false }
        return uv_now(loop.raw) - due > Timer.oversleepMilliseconds
    }

    private func putOff() {
        start(after: Timer.oversleepMilliseconds, repeating: 0)
        due = nil
    }

    /// Will not fire until started again. Harmless when not running, or closed.
    package func stop() {
        loop.preconditionOnThread()
        if !isClosed { uv_timer_stop(timer) }
    }

    /// True between a start and its (only) firing, or its stop.
    package var isRunning: Bool { !isClosed && uv_is_active(raw) != 0 }
}
