import Glibc
import Synchronization

/// A request from outside to end the run after the step at hand: the first SIGINT, SIGTERM or SIGUSR1 that this process gets.
/// The signal thread takes it (`ComputeThread`), where there is one: a handler never runs in the midst of a computation.
///
/// A further one of any of them does what it does by default, and ends the process, unless it comes together with the first: whoever stops a
/// whole group of processes signals a worker, and the launcher that passes the signal on to it.
public enum StopRequest {
    private static let received = Atomic<Int32>(0)
    /// When it was, in nanoseconds of the monotonic clock.
    private static let receivedAt = Atomic<Int64>(0)
    private static let isListening = Atomic<Bool>(false)

    /// The signal that made the request; nil while there is none. From any thread.
    public static var signal: Int32? {
        let number = received.load(ordering: .relaxed)
        return number == 0 ? nil : number
    }

    /// Takes the signals from now on, but for those that this process was started to ignore. Once is enough.
    package static func listen() {
        // All are touched here first, so that the handler never is the one to make them.
        guard received.load(ordering: .relaxed) == 0, receivedAt.load(ordering: .relaxed) == 0,
            !isListening.exchange(true, ordering: .relaxed)
        else { return }
        for number in [SIGINT, SIGTERM, SIGUSR1] {
            var action = sigaction()
            guard sigaction(number, nil, &action) == 0, !isIgnored(action) else { continue }
            action = Glibc.sigaction()
            action.__sigaction_handler.sa_handler = { number in
                // Async-signal-safe: atomics, clock_gettime(2), getpid(2), signal(2) and raise(3).
                var now = timespec()
                clock_gettime(CLOCK_MONOTONIC, &now)
                let time = Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
                let isFirst = StopRequest.received.compareExchange(expected: 0, desired: number, ordering: .relaxed).exchanged
                if isFirst {
                    StopRequest.receivedAt.store(time, ordering: .relaxed)
                    return
                }
                let first = StopRequest.receivedAt.load(ordering: .relaxed)
                if first != 0, time - first > 100_000_000 {
                    // For process 1 of a container the kernel drops what is left to it.
                    if getpid() == 1 { _exit(128 + number) }
                    // Blocked while the handler runs; it takes effect when that returns.
                    Glibc.signal(number, SIG_DFL)
                    raise(number)
                }
            }
            action.sa_flags = SA_RESTART
            sigaction(number, &action, nil)
        }
    }

    private static func isIgnored(_ action: sigaction) -> Bool {
        unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
    }
}
