import EventLoop
import Membership

/// Everything of a ring that lives on its loop's thread: membership, formation, then the connections.
///
/// Confined to that thread, but for init; the compute thread speaks to it through the `Monitor` and the `Wake`.
final class RingDriver: @unchecked Sendable {
    // SAFETY (@unchecked Sendable): made before the loop's thread starts, then used on that thread only; `wake` may be signalled
    // from any thread by its own contract.

    typealias Operation = RingProtocol<RingConnections>.Operation

    /// What both threads see.
    struct Shared {
        var isFormed = false
        var isOver = false
        var failure: (any Error)?
        var completed: UInt64 = 0
        var submitted: UInt64 = 0
        var bytesSent: UInt64 = 0
        var members: [String] = []
        /// Operations on their way to the loop's thread: a circle with room for all that may be under way.
        var queue = [Operation?](repeating: nil, count: RingProtocol<RingConnections>.operationsUnderWay)
        var taken: UInt64 = 0
    }

    let shared: Monitor<Shared>
    private(set) var wake: Wake!
    private let loop: Loop
    private let environment: WorkerEnvironment
    private let rank: Int
    private let worldSize: Int
    private let timeout: Duration
    private var coordinator: Coordinator?
    private var member: Member?
    private var formation: RingFormation?
    private var connections: RingConnections?
    private var members: [(rank: Int, host: String)] = []
    private var generation: UInt32 = 0
    private var verdictTimer: Timer?

    /// Joins as soon as the loop runs. On the thread that owns the loop.
    init(
        loop: Loop, environment: WorkerEnvironment, address: WorkerEnvironment.CoordinatorAddress, shared: Monitor<Shared>
    ) throws {
        self.loop = loop
        self.environment = environment
        self.shared = shared
        rank = environment.rank
        worldSize = environment.worldSize
        timeout = environment.timeout
        let joinLimit = min(timeout, .seconds(120))
        wake = try Wake(loop: loop) { [weak self] in self?.takeSubmissions() }
        if address.isOurs {
            do throws(LoopError) {
                coordinator = try Coordinator(
                    loop: loop, host: numericHost(address.host), port: address.port, worldSize: worldSize,
                    secret: address.secret, joinTimeLimit: joinLimit) { _ in }
            } catch {
                throw MembershipError.noCoordinator(
                    address: SocketAddress.text(host: address.host, port: address.port), cause: error.description)
            }
        }
        let formation = RingFormation(
            loop: loop, rank: rank, worldSize: worldSize, secret: address.secret, timeLimit: joinLimit
        ) { [weak self] result in self?.formed(result) }
        self.formation = formation
        member = try Member(
            loop: loop, rank: rank, worldSize: worldSize, coordinator: address, timeLimit: joinLimit,
            listen: { [worldSize] host throws(LoopError) in worldSize == 1 ? 0 : try formation.listen(on: host) }
        ) { [weak self] event in self?.memberSays(event) }
    }

    /// All is done here: says so to the coordinator and waits, on the loop's thread, until the others are done too.
    func leave() {
        guard let member else { return finish() }
        member.leave()
    }

    func closeAll() {
        connections?.close()
        formation?.cancel()
        member?.close()
        coordinator?.close()
        wake.close()
        verdictTimer?.close()
    }

    private func memberSays(_ event: Member.Event) {
        switch event {
        case .formed(let generation, let members):
            self.generation = generation
            self.members = members.map { (Int($0.rank), $0.hostName) }
            if worldSize == 1 { return announce() }
            formation?.form(generation: generation, members: members)
        case .lost(let rank, let cause):
            let ring = connections?.ring
            fail(
                CollectiveError.peerLost(
                    rank: rank, host: members.first { $0.rank == rank }?.host ?? "?", operation: ring?.completed ?? 0,
                    bytesMoved: (ring?.bytesReceived ?? 0) + (ring?.bytesSent ?? 0), cause: cause))
        case .failed(let error):
            fail(error)
        case .over:
            finish()
        }
    }

    private func formed(_ result: Result<RingFormation.Streams, CollectiveError>) {
        formation = nil
        switch result {
        case .failure(let error):
            fail(error)
        case .success(let streams):
            do {
                connections = try RingConnections(
                    left: streams.left, right: streams.right, leftNeighbour: neighbour((rank + worldSize - 1) % worldSize),
                    rightNeighbour: neighbour((rank + 1) % worldSize), rank: rank, worldSize: worldSize,
                    generation: generation, timeout: timeout,
                    completedThrough: { [weak self] in self?.completed(through: $0) },
                    failed: { [weak self] in self?.connectionFailed($0) })
                announce()
                takeSubmissions()
            } catch {
                fail(error)
            }
        }
    }

    private func neighbour(_ rank: Int) -> RingConnections.Neighbour {
        RingConnections.Neighbour(rank: rank, host: members.first { $0.rank == rank }?.host ?? "?")
    }

    private func announce() {
        shared.notify { $0.isFormed = true }
    }

    private func finish() {
        connections?.close()
        shared.notify { $0.isOver = true }
    }

    /// When a worker dies its neighbours notice first, and their neighbours then lose them: the coordinator saw who was first. It is
    /// heard before a neighbour is blamed.
    private func connectionFailed(_ error: CollectiveError) {
        guard case .peerLost = error, let timer = try? Timer(loop: loop, fired: { [weak self] in self?.fail(error) })
        else { return fail(error) }
        verdictTimer = timer
        timer.start(after: RingDriver.verdictTime)
    }

    /// Well within the 100 ms in which the death of a peer is to be told.
    private static let verdictTime = Duration.milliseconds(50)

    /// The first failure is the one that is told; those that follow come of it.
    private func fail(_ error: any Error) {
        verdictTimer?.close()
        shared.notify { if $0.failure == nil { $0.failure = error } }
        connections?.close()
    }

    private func completed(through sequence: UInt64) {
        let bytes = connections?.ring.bytesSent ?? 0
        shared.notify {
            $0.completed = sequence
            $0.bytesSent = bytes
        }
    }

    private func takeSubmissions() {
        guard let connections else { return }
        while let operation = shared.withLock({ shared -> Operation? in
            guard shared.taken < shared.submitted else { return nil }
            let position = Int(shared.taken % UInt64(shared.queue.count))
            shared.taken += 1
            return shared.queue[position]
        }) {
            connections.submit(operation)
        }
    }
}

/// `localhost` is what people write for the loopback address; a listener takes numbers only.
private func numericHost(_ host: String) -> String {
    host == "localhost" ? "127.0.0.1" : host
}
