import Collectives
import EventLoop
import Glibc
import Membership
import Synchronization
import Testing
import Wire

/// Runs `body` once for each of `count` numbers, each on a thread of its own, and returns when all have ended.
package func inThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    final class Job: Sendable {
        let number: Int
        let body: @Sendable (Int) -> Void
        init(_ number: Int, _ body: @escaping @Sendable (Int) -> Void) {
            self.number = number
            self.body = body
        }
    }
    let threads = (0..<count).compactMap { number -> pthread_t? in
        var thread = pthread_t()
        let job = Unmanaged.passRetained(Job(number, body))
        let code = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let job = Unmanaged<Job>.fromOpaque(argument).takeRetainedValue()
                job.body(job.number)
                return nil
            }, job.toOpaque())
        if code == 0 { return thread }
        job.release()
        Issue.record("thread \(number) of \(count) cannot be started: \(SystemCode(errno: code))")
        return nil
    }
    for thread in threads { pthread_join(thread, nil) }
}

/// A coordinator on the loopback interface, as a launcher has one, and the environments of its workers.
package final class LocalCoordinator: Sendable {
    private let loop: Loop
    package let port: UInt16
    package let secret: Secret
    package let worldSize: Int

    package init(
        worldSize: Int, joinTimeLimit: Duration = .seconds(120),
        configure: (inout Coordinator.Configuration) -> Void = { _ in },
        happened: @escaping @Sendable (Coordinator.Event) -> Void = { _ in }
    ) throws {
        var configuration = Coordinator.Configuration(worldSize: worldSize)
        configuration.joinTimeLimit = joinTimeLimit
        // Nobody is taken for frozen because the machine is busy.
        configuration.peerTimeout = .seconds(60)
        configure(&configuration)
        self.worldSize = worldSize
        secret = try .random()
        loop = try Loop()
        let coordinator = try Coordinator(
            loop: loop, host: "127.0.0.1", port: 0, secret: secret, configuration: configuration, happened: happened)
        port = coordinator.address.port
        let box = Unmanaged.passRetained(coordinator)
        nonisolated(unsafe) let opaque = box
        release = { opaque.release() }
        onLoop = { [loop] body in
            // SAFETY: the coordinator is used on its loop's thread only, and lives until `stop`, which comes after that thread.
            nonisolated(unsafe) let body = body
            _ = loop.enqueue { body(opaque.takeUnretainedValue()) }
        }
        try loop.startThread(name: "coordinator")
    }

    private let release: @Sendable () -> Void
    private let onLoop: @Sendable (@escaping (Coordinator) -> Void) -> Void

    /// Tells the coordinator what a launcher would.
    package func scale(to workers: Int) {
        onLoop { _ = $0.scale(to: workers) }
    }

    package func processEnded(rank: Int, willReturn: Bool) {
        onLoop { $0.processEnded(rank: rank, willReturn: willReturn) }
    }

    /// What a worker finds in its environment. Every other rank overlaps, so that both ways are gone, and meet.
    package func variables(rank: Int, timeout: Int = 30, overlap: Bool? = nil, secret other: Secret? = nil) -> [String: String] {
        [
            "RANK": "\(rank)", "WORLD_SIZE": "\(max(worldSize, rank + 1))", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "\(port)",
            "LOCKSTEP_SECRET": (other ?? secret).hexadecimal, "LOCKSTEP_COORDINATOR": "launcher",
            "LOCKSTEP_TIMEOUT": "\(timeout)", "LOCKSTEP_OVERLAP": overlap ?? (rank % 2 == 1) ? "1" : "0",
        ]
    }

    package func environment(
        rank: Int, timeout: Int = 30, overlap: Bool? = nil, secret other: Secret? = nil
    ) throws -> WorkerEnvironment {
        let values = variables(rank: rank, timeout: timeout, overlap: overlap, secret: other)
        return try WorkerEnvironment { values[$0.rawValue] }
    }

    package func stop() {
        loop.stopAndJoin()
        release()
    }
}

/// Runs a program on every rank of a world, each with a ring of its own, and records what it throws.
package func inWorld(of worldSize: Int, timeout: Int = 30, overlap: Bool? = nil, _ program: @escaping @Sendable (Ring) throws -> Void) throws {
    let coordinator = try LocalCoordinator(worldSize: worldSize)
    defer { coordinator.stop() }
    inThreads(worldSize) { rank in
        do {
            let ring = try Ring(try coordinator.environment(rank: rank, timeout: timeout, overlap: overlap))
            try program(ring)
            ring.close()
        } catch {
            Issue.record("rank \(rank) of \(worldSize): \(error)")
        }
    }
}
