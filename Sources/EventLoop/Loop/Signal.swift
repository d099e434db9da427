import Glibc

/// A Unix signal, by its number on this system.
package struct Signal: Hashable, Sendable, CustomStringConvertible {
    package let rawValue: Int32

    package init(_ rawValue: Int32) {
        self.rawValue = rawValue
    }

    package static let hangUp = Signal(SIGHUP)
    package static let interrupt = Signal(SIGINT)
    package static let kill = Signal(SIGKILL)
    package static let terminate = Signal(SIGTERM)
    package static let user1 = Signal(SIGUSR1)
    package static let user2 = Signal(SIGUSR2)
    package static let abort = Signal(SIGABRT)
    package static let segmentationFault = Signal(SIGSEGV)
    package static let stop = Signal(SIGSTOP)
    package static let resume = Signal(SIGCONT)
    /// Ctrl-Z.
    package static let terminalStop = Signal(SIGTSTP)

    /// Its usual name, `SIGKILL`, or `signal 34` for those that have none here.
    package var description: String {
        Self.names[rawValue] ?? "signal \(rawValue)"
    }

    private static let names: [Int32: String] = [
        SIGHUP: "SIGHUP", SIGINT: "SIGINT", SIGQUIT: "SIGQUIT", SIGILL: "SIGILL", SIGTRAP: "SIGTRAP", SIGABRT: "SIGABRT",
        SIGBUS: "SIGBUS", SIGFPE: "SIGFPE", SIGKILL: "SIGKILL", SIGUSR1: "SIGUSR1", SIGSEGV: "SIGSEGV",
        SIGUSR2: "SIGUSR2", SIGPIPE: "SIGPIPE", SIGALRM: "SIGALRM", SIGTERM: "SIGTERM", SIGCHLD: "SIGCHLD",
        SIGCONT: "SIGCONT", SIGSTOP: "SIGSTOP", SIGTSTP: "SIGTSTP", SIGTTIN: "SIGTTIN", SIGTTOU: "SIGTTOU",
        SIGXCPU: "SIGXCPU", SIGXFSZ: "SIGXFSZ", SIGSYS: "SIGSYS",
    ]

    /// True when the process was started with the signal ignored, as `nohup` does with SIGHUP; such a wish is to be kept.
    package var isIgnored: Bool {
        var action = sigaction()
        guard sigaction(rawValue, nil, &action) == 0 else { return false }
        return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
    }
}
