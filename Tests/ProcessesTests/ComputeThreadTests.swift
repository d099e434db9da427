import CProcess
import Glibc
import Processes
import Synchronization
import Testing

/// Work for a thread of its own.
private final class Work: Sendable {
    let body: @Sendable () -> Void

    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// What a thread leaves for whoever waits for it.
private final class Outcome<Result: Sendable>: Sendable {
    let value = Mutex<Result?>(nil)
}

/// Runs the body on a thread of its own, with no signal blocked, and returns what it gives.
private func onThread<Result: Sendable>(_ body: @escaping @Sendable () -> Result) -> Result {
    let outcome = Outcome<Result>()
    let work = Work {
        let result = body()
        outcome.value.withLock { $0 = result }
    }
    var thread = pthread_t()
    let code = pthread_create(
        &thread, nil,
        { argument in
            var none = sigset_t()
            sigemptyset(&none)
            pthread_sigmask(SIG_SETMASK, &none, nil)
            let work = Unmanaged<Work>.fromOpaque(argument!).takeRetainedValue()
            work.body()
            return nil
        }, Unmanaged.passRetained(work).toOpaque())
    precondition(code == 0)
    pthread_join(thread, nil)
    return outcome.value.withLock { $0! }
}

private let faults = [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS]
private let others = (1..<65).filter { ![SIGKILL, SIGSTOP, 32, 33].contains($0) && !faults.contains($0) }

@Test func aComputeThreadBlocksEverythingButItsOwnFaults() {
    let (before, after) = onThread {
        let before = others.filter { lockstep_thread_blocks($0) != 0 }
        try? ComputeThread.enter()
        return (before, (1..<65).map { Int32($0) }.filter { lockstep_thread_blocks($0) != 0 })
    }
    #expect(before.isEmpty && after == others)
}

@Test func threadsThatTheLibraryStartsBeginWithEverythingBlocked() {
    let blocked = onThread {
        final class Seen: Sendable { let signals = Mutex<[Int32]>([]) }
        let seen = Seen()
        var thread = pthread_t()
        let code = lockstep_thread_create(
            &thread, 0,
            { argument in
                let seen = Unmanaged<Seen>.fromOpaque(argument!).takeUnretainedValue()
                seen.signals.withLock { $0 = (1..<65).map { Int32($0) }.filter { lockstep_thread_blocks($0) != 0 } }
                return nil
            }, Unmanaged.passUnretained(seen).toOpaque())
        precondition(code == 0)
        pthread_join(thread, nil)
        // The one that started it is as it was.
        return (seen.signals.withLock { $0 }, others.contains { lockstep_thread_blocks($0) != 0 })
    }
    #expect(blocked.0 == others && !blocked.1)
}

private let handledOn = Atomic<UInt>(0)

/// A signal to the process is still handled, on a thread that is none of those that compute.
@Test func signalsArriveOnAThreadOfTheirOwn() {
    let computing = onThread {
        try? ComputeThread.enter()
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in handledOn.store(pthread_self(), ordering: .relaxed) }
        sigaction(SIGWINCH, &action, nil)
        defer { signal(SIGWINCH, SIG_DFL) }
        let deadline = ContinuousClock.now + .seconds(30)
        while handledOn.load(ordering: .relaxed) == 0, ContinuousClock.now < deadline {
            kill(getpid(), SIGWINCH)
            usleep(1000)
        }
        return pthread_self()
    }
    let handled = handledOn.load(ordering: .relaxed)
    #expect(handled != 0 && handled != computing)
}

/// fork(2) leaves the child with this thread only: it takes signals again.
@Test func aForkedChildTakesSignals() {
    let status: Int32 = onThread {
        try? ComputeThread.enter()
        let child = forkForTests()
        if child == 0 { _exit(others.contains { lockstep_thread_blocks($0) != 0 } ? 1 : 0) }
        var status: Int32 = -1
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        return status
    }
    #expect(status == 0)
}

/// Swift does not import fork(2), which is what this is about.
private func forkForTests() -> pid_t {
    typealias Fork = @convention(c) () -> pid_t
    let symbol = dlsym(UnsafeMutableRawPointer(bitPattern: 0), "fork")
    return unsafeBitCast(symbol, to: Fork.self)()
}
