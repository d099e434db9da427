import Glibc

/// Where a step's time went, on the compute thread.
struct StepClock {
    enum Phase: Int, CaseIterable {
        /// Forward and backward passes, and adding their gradients to the sums.
        case compute
        /// Waiting for the ring.
        case exposedReduce
        /// Norm, clipping and the optimizer.
        case optimizer
    }

    private var spent = [Duration](repeating: .zero, count: Phase.allCases.count)
    private(set) var total = Duration.zero
    private let began = ContinuousClock.now

    subscript(phase: Phase) -> Duration { spent[phase.rawValue] }

    /// Adds the time that the body takes to a phase.
    mutating func measure<Result>(_ phase: Phase, _ body: () throws -> Result) rethrows -> Result {
        let start = ContinuousClock.now
        defer { spent[phase.rawValue] += ContinuousClock.now - start }
        return try body()
    }

    mutating func end() {
        total = ContinuousClock.now - began
    }

    /// What the host's clock shows, to the microsecond.
    static var secondsSince1970: Double {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Double(Int64(now.tv_sec) * 1_000_000 + Int64(now.tv_nsec) / 1000) / 1e6
    }
}

extension Duration {
    var seconds: Double {
        Double(components.seconds) + Double(components.attoseconds) * 1e-18
    }

    var milliseconds: Double { seconds * 1000 }
}
