import Glibc
import Synchronization

/// A request from outside to end the run after the step at hand: the first SIGINT, SIGTERM or SIGUSR1 that this process gets.
///
/// The second one of any of them does what it does by default, and ends the process.
public enum StopRequest {
    private static let received = Atomic<Int32>(0)
    private static let isListening = Atomic<Bool>(false)

    /// The signal that made the request; nil while there is none. From any thread.
    public static var signal: Int32? {
        let number = received.load(ordering: .relaxed)
        return number == 0 ? nil : number
    }

    /// Takes the signals from now on, but for those that this process was started to ignore. Once is enough.
    package static func listen() {
        // Both are touched here first, so that the handler never is the one to make them.
        guard received.load(ordering: .relaxed) == 0, !isListening.exchange(true, ordering: .relaxed) else { return }
        for number in [SIGINT, SIGTERM, SIGUSR1] {
            var action = sigaction()
            guard sigaction(number, nil, &action) == 0, !isIgnored(action) else { continue }
            action = Glibc.sigaction()
            action.__sigaction_handler.sa_handler = { number in
                // Async-signal-safe: an atomic store, and three calls of signal(2).
                StopRequest.received.store(number, ordering: .relaxed)
                Glibc.signal(SIGINT, SIG_DFL)
                Glibc.signal(SIGTERM, SIG_DFL)
                Glibc.signal(SIGUSR1, SIG_DFL)
            }
            action.sa_flags = SA_RESTART
            sigaction(number, &action, nil)
        }
    }

    private static func isIgnored(_ action: sigaction) -> Bool {
        unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
    }
}
