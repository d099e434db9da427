import Testing

/// Expects that what `attempt` measures is within a limit which holds on a machine that is not overloaded.
///
/// The machine that runs the tests may be overloaded at any moment. It is measured again then: one good measurement is enough, since what is
/// slow by itself never has one. Everything else that `attempt` expects must hold each time.
package func expectOnce(
    within limit: Duration, attempts: Int = 10, sourceLocation: SourceLocation = #_sourceLocation, _ attempt: () throws -> Duration
) rethrows {
    var measured: [Duration] = []
    while measured.count < attempts {
        let duration = try attempt()
        if duration < limit { return }
        measured.append(duration)
    }
    Issue.record("never within \(limit): \(measured)", sourceLocation: sourceLocation)
}
