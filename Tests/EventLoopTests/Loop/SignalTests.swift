import EventLoop
import Glibc
import Testing

@Test func aSignalToTheProcessReachesEveryWatcher() throws {
    var first = 0
    var second = 0
    try withLoop { loop in
        func count() { if first == 1 && second == 1 { loop.stop() } }
        _ = try SignalWatcher(loop: loop, signal: .user2) {
            first += 1
            count()
        }
        _ = try SignalWatcher(loop: loop, signal: .user2) {
            second += 1
            count()
        }
        // No launcher that another test runs in this process watches this one.
        kill(getpid(), SIGUSR2)
    }
    #expect(first == 1 && second == 1)
}

@Test func aSignalThatCannotBeCaughtIsRefused() throws {
    try withLoop { loop in
        #expect(throws: LoopError.self) { try SignalWatcher(loop: loop, signal: .kill) {} }
        loop.stop()
    }
}

@Test func signalsHaveTheirNames() {
    #expect(Signal.kill.description == "SIGKILL" && Signal(40).description == "signal 40")
    #expect(!Signal.user2.isIgnored)
    // Every loop makes the process ignore this one.
    _ = try? withLoop { $0.stop() }
    #expect(Signal(SIGPIPE).isIgnored)
}
