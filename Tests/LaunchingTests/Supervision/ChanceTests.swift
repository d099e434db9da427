import EventLoop
import Launching
import Testing

/// Faults of every kind at random instants: whatever comes together, a run comes to its end, with the right status, and leaves nothing.
@Test(arguments: 0..<8)
func whateverComesTogetherTheRunEnds(block: Int) {
    for seed in UInt64(block * 1000)..<UInt64((block + 1) * 1000) {
        var host = SimulatedHost(seed: seed)
        host.run()
        var wrong = host.faults
        if let status = host.status {
            // A status of its own is the program's failure, and so the run's.
            if host.hasFailed, !host.wasAskedToEnd, status == 0, !host.hasCompleted { wrong.append("a failure is no success") }
            if let blamed = host.blamed, status != 1, status != blamed.status { wrong.append("status \(status), not \(blamed)'s") }
            if status == 0, !host.hasCompleted { wrong.append("a success, and nobody has done the work") }
        }
        guard !wrong.isEmpty else { continue }
        var again = SimulatedHost(seed: seed, traces: true)
        again.run()
        Issue.record("seed \(seed): \(wrong)\n\(again.trace.joined(separator: "\n"))")
    }
}
