import Glibc
import Synchronization
import TestSupport
import Testing

/// Ten thousand jobs in virtual time. A seed that fails is told, and runs again with
///
///     LOCKSTEP_SIMULATION_SEED=SEED swift test --filter SimulationTests
///
/// which prints all that happened. `LOCKSTEP_SIMULATION_COUNT` says how many seeds, `LOCKSTEP_SIMULATION_FIRST` from which on.
@Suite struct SimulationTests {
    private static func number(_ name: String) -> UInt64? {
        getenv(name).flatMap { UInt64(String(cString: $0)) }
    }

    @Test func whateverBefallsAJobItsSumsAreRight() {
        if let seed = SimulationTests.number("LOCKSTEP_SIMULATION_SEED") { return replay(seed) }
        let first = SimulationTests.number("LOCKSTEP_SIMULATION_FIRST") ?? 1
        let count = SimulationTests.number("LOCKSTEP_SIMULATION_COUNT") ?? 10_000
        let next = Atomic<UInt64>(0)
        let failed = Mutex<[(UInt64, String)]>([])
        let endings = Mutex<[String: Int]>([:])
        inThreads(max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))) { _ in
            var told: [String: Int] = [:]
            while true {
                let seed = first + next.add(1, ordering: .relaxed).oldValue
                guard seed < first + count, failed.withLock({ $0.count }) < 5 else { break }
                let simulation = Simulation(seed: seed)
                do {
                    try simulation.run()
                    for worker in simulation.workers { told["\(worker.ending!)", default: 0] += 1 }
                } catch {
                    failed.withLock { $0.append((seed, "\(error)")) }
                }
            }
            endings.withLock { $0.merge(told, uniquingKeysWith: +) }
        }
        for (seed, text) in failed.withLock({ $0 }) { Issue.record("LOCKSTEP_SIMULATION_SEED=\(seed): \(text)") }
        print("\(count) jobs; workers: \(endings.withLock { $0 }.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" })")
    }

    private func replay(_ seed: UInt64) {
        let simulation = Simulation(seed: seed, keepsLog: true)
        do {
            try simulation.run()
        } catch {
            Issue.record("\(error)")
        }
        for line in simulation.log { print(line) }
        for worker in simulation.workers { print(worker) }
    }

    /// The same seed is the same job, to the last message.
    @Test func aSeedReplays() throws {
        for seed: UInt64 in [3, 77, 1234] {
            let first = Simulation(seed: seed, keepsLog: true)
            let second = Simulation(seed: seed, keepsLog: true)
            try? first.run()
            try? second.run()
            #expect(first.log == second.log && first.log.count > 10)
        }
    }
}
