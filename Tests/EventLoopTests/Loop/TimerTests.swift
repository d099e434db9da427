import EventLoop
import Glibc
import Testing

@Test func timersFireInTheOrderOfTheirDelaysAndNeverEarly() throws {
    /// Which timers have fired, and within which time each must have been due.
    var fired: [Int] = []
    var due: [Int: (earliest: ContinuousClock.Instant, latest: ContinuousClock.Instant)] = [:]
    let delays = [30, 10, 0, 20, 25]
    try withLoop { loop in
        for delay in delays {
            let timer = try Timer(loop: loop) {
                fired.append(delay)
                if let due = due[delay] { #expect(ContinuousClock.now >= due.earliest) }
                if fired.count == delays.count { loop.stop() }
            }
            let before = ContinuousClock.now
            timer.start(after: .milliseconds(delay))
            // A busy machine may take any time between two starts: what is due when is known from looking at both sides of each.
            due[delay] = (before + .milliseconds(delay), .now + .milliseconds(delay + 2))
            #expect(timer.isRunning)
        }
    }
    #expect(fired.sorted() == delays.sorted())
    for (first, second) in zip(fired, fired.dropFirst()) {
        guard let first = due[first], let second = due[second] else { continue }
        #expect(first.earliest <= second.latest)
    }
}

@Test func aRepeatingTimerStopsWhenToldTo() throws {
    var ticks = 0
    try withLoop { loop in
        weak var ticking: Timer?
        let end = try Timer(loop: loop) { loop.stop() }
        let timer = try Timer(loop: loop) {
            ticks += 1
            if ticks == 5 {
                ticking?.stop()
                #expect(ticking?.isRunning == false)
                // Time for many more.
                end.start(after: .milliseconds(30))
            }
        }
        ticking = timer
        timer.start(every: .milliseconds(1))
    }
    #expect(ticks == 5)
}

/// A process that was stopped over a deadline first reads what came in time.
@Test func aDeadlineThatWasSleptThroughComesAfterWhatCameInTime() throws {
    var order: [String] = []
    try withLoop { loop in
        let deadline = try Timer(loop: loop) {
            order.append("deadline")
            loop.stop()
        }
        // It takes some passes of the loop to be read, as a handshake does.
        var passes = 0
        weak var again: Wake?
        let wake = try Wake(loop: loop) {
            passes += 1
            if passes < 4 { again?.signal() } else { order.append("word") }
        }
        again = wake
        let sleeper = try Timer(loop: loop) {
            deadline.start(after: .milliseconds(20))
            wake.signal()
            // As long as a stop.
            usleep(1_200_000)
        }
        sleeper.start(after: .zero)
    }
    #expect(order == ["word", "deadline"])
}

@Test func startingAgainMovesTheDeadline() throws {
    var fired = 0
    try withLoop { loop in
        let timer = try Timer(loop: loop) { fired += 1 }
        timer.start(after: .milliseconds(5))
        timer.start(after: .seconds(100))
        let end = try Timer(loop: loop) { loop.stop() }
        end.start(after: .milliseconds(30))
    }
    #expect(fired == 0)
}

@Test(arguments: [
    (Duration.zero, 0), (.nanoseconds(-1), 0), (.seconds(-5), 0), (.nanoseconds(1), 1), (.microseconds(999), 1),
    (.milliseconds(1), 1), (.microseconds(1001), 2), (.seconds(3), 3000), (.seconds(3) + .nanoseconds(1), 3001),
    (.seconds(Int64.max), UInt64(Int64.max)),
] as [(Duration, UInt64)])
func durationsRoundUpToMilliseconds(duration: Duration, milliseconds: UInt64) {
    #expect(duration.millisecondsRoundedUp == milliseconds)
}

@Test(arguments: [
    (Duration.milliseconds(1249), "1.2 s"), (.milliseconds(1250), "1.3 s"), (.zero, "0.0 s"), (.seconds(61), "61.0 s"),
])
func durationsPrintInSeconds(duration: Duration, text: String) {
    #expect(duration.secondsText == text)
}
