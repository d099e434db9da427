/// Where a step's time went, on the compute thread.
struct StepClock {
    fileprivate(set) var compute = Duration.zero
    fileprivate(set) var exposedReduce = Duration.zero
    fileprivate(set) var optimizer = Duration.zero
    private(set) var total = Duration.zero
    private let began = ContinuousClock.now

    /// Adds the time that the body takes to one of the parts.
    mutating func measure<Result>(_ part: WritableKeyPath<StepClock, Duration>, _ body: () throws -> Result) rethrows -> Result {
        let start = ContinuousClock.now
        defer { self[keyPath: part] += ContinuousClock.now - start }
        return try body()
    }

    mutating func end() {
        total = ContinuousClock.now - began
    }
}

extension Duration {
    var seconds: Double {
        Double(components.seconds) + Double(components.attoseconds) * 1e-18
    }

    var milliseconds: Double { seconds * 1000 }
}
