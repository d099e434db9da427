import Launching
import Testing

@Test func timeThatWasSleptAwayDoesNotCount() {
    var clock = AwakeClock()
    #expect(clock.now(at: .seconds(1)) == .seconds(1))
    clock.wakeAt = .seconds(5)
    // Late as on a busy machine.
    #expect(clock.now(at: .milliseconds(5900)) == .milliseconds(5900))
    clock.wakeAt = .seconds(10)
    // Woken long after, what was due comes a moment later, and things go on from there.
    #expect(clock.now(at: .seconds(3600)) == .seconds(9))
    #expect(clock.now(at: .seconds(3601)) == .seconds(10))
    // Never back.
    clock.wakeAt = .seconds(10) + .milliseconds(50)
    #expect(clock.now(at: .seconds(7200)) == .seconds(10))
    clock.wakeAt = nil
    #expect(clock.now(at: .seconds(7300)) == .seconds(110))
    clock.slept(.seconds(100))
    #expect(clock.now(at: .seconds(7401)) == .seconds(111))
}
