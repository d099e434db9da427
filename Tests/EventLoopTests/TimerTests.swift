import EventLoop
import Testing

@Test func timersFireInTheOrderOfTheirDelaysAndNeverEarly() throws {
    var fired: [Int] = []
    try withLoop { loop in
        let start = ContinuousClock.now
        for delay in [30, 10, 0, 20, 25] {
            let timer = try Timer(loop: loop) {
                #expect(ContinuousClock.now - start >= .milliseconds(delay))
                fired.append(delay)
                if delay == 30 { loop.stop() }
            }
            timer.start(after: .milliseconds(delay))
            #expect(timer.isRunning)
        }
    }
    #expect(fired == [0, 10, 20, 25, 30])
}

@Test func aRepeatingTimerStopsWhenToldTo() throws {
    var ticks = 0
    try withLoop { loop in
        weak var ticking: Timer?
        let timer = try Timer(loop: loop) {
            ticks += 1
            if ticks == 5 {
                ticking?.stop()
                #expect(ticking?.isRunning == false)
            }
        }
        ticking = timer
        timer.start(every: .milliseconds(1))
        let end = try Timer(loop: loop) { loop.stop() }
        end.start(after: .milliseconds(60))
    }
    #expect(ticks == 5)
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
