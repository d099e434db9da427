import Collectives
import Glibc
import Membership
import Synchronization
import TestSupport
import Testing

/// A coordinator and workers that are processes of their own (`Probe elastic`), with what a launcher would do by hand.
final class ElasticJob {
    let coordinator: LocalCoordinator
    private(set) var workers: [(rank: Int, job: ProbeJob)] = []
    /// nil: until `finish`.
    private let steps: Int?
    private let elements: Int
    private let stepMicroseconds: Int
    private let told: Told

    private final class Told: Sendable {
        let events = Mutex<[MembershipEvent]>([])
    }

    init(
        workers count: Int, steps: Int? = nil, elements: Int, stepMicroseconds: Int = 0,
        deaths: [Int: String] = [:], configure: (inout Coordinator.Configuration) -> Void = { _ in }
    ) throws {
        self.steps = steps
        self.elements = elements
        self.stepMicroseconds = stepMicroseconds
        let told = Told()
        self.told = told
        coordinator = try LocalCoordinator(worldSize: count, configure: configure) { event in
            told.events.withLock { $0.append(event) }
        }
        for rank in 0..<count { try start(rank: rank, death: deaths[rank]) }
    }

    var events: [MembershipEvent] { told.events.withLock { $0 } }

    @discardableResult
    func start(rank: Int, death: String? = nil) throws -> ProbeJob {
        var environment = coordinator.variables(rank: rank)
        environment["PROBE_DEATH"] = death
        environment["PROBE_STEP_MICROSECONDS"] = "\(stepMicroseconds)"
        let job = try ProbeJob(arguments: ["elastic", "\(steps ?? 0)", "\(elements)"], environment: environment)
        workers.append((rank, job))
        return job
    }

    func stop() {
        for worker in workers { worker.job.stop() }
        coordinator.stop()
    }

    /// Returns when a worker has told a line that begins so; records an issue and gives nil if it never does.
    @discardableResult
    func waitForLine(_ worker: Int, _ prefix: String) -> String? {
        let line = workers[worker].job.waitForLine { $0.hasPrefix(prefix) }
        if line == nil { Issue.record("worker \(worker) never told \"\(prefix)\": \(workers[worker].job.lines.suffix(5))") }
        return line
    }

    /// Has a worker, which must have begun, ask all to stop after the step at hand.
    func finish(by worker: Int) {
        workers[worker].job.signal(SIGUSR1)
    }

    /// All workers but these have come to the end with the right state, in the same step.
    func expectRightEnds(except gone: Set<Int> = []) {
        var ends: Set<String> = []
        for (index, worker) in workers.enumerated() where !gone.contains(index) {
            let ending = worker.job.waitForEnd()
            let last = worker.job.lines.last ?? ""
            #expect(ending == .exited(status: 0), "worker \(index), rank \(worker.rank): \(last)")
            #expect(last.hasPrefix("end ") && last.hasSuffix("true"), "worker \(index), rank \(worker.rank): \(last)")
            ends.insert(last)
        }
        #expect(ends.count == 1, "\(ends)")
        if let steps { #expect(ends.first?.hasPrefix("end \(steps) steps") == true, "\(ends)") }
    }
}
