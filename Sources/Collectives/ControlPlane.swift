import EventLoop
import Membership

/// A worker's membership, on a thread of its own, so that the coordinator is heard, and in rank 0 speaks, whatever the compute thread
/// and the ring are doing.
///
/// Made by the compute thread; everything else happens on the control thread, and reaches the ring through `RingShared` and the
/// ring's loop.
final class ControlPlane: @unchecked Sendable {
    // SAFETY (@unchecked Sendable): all state is made before the loop's thread starts and touched only on it afterwards.

    private let loop: Loop
    private let ring: DataPlane?
    private let shared: Monitor<RingShared>
    private let worldSize: Int
    private var coordinator: Coordinator?
    private var member: Member?
    private var members: [Int: String] = [:]

    static func joinLimit(_ timeout: Duration) -> Duration { min(timeout, .seconds(120)) }

    /// Starts joining. `ring` is nil in a world of one. Throws if the coordinator, where it is to be here, cannot have its address.
    init(
        environment: WorkerEnvironment, address: WorkerEnvironment.CoordinatorAddress, ring: DataPlane?,
        shared: Monitor<RingShared>
    ) throws {
        self.ring = ring
        self.shared = shared
        worldSize = environment.worldSize
        loop = try Loop()
        do {
            if address.isOurs { coordinator = try ControlPlane.coordinator(loop, environment, address) }
            member = try Member(
                loop: loop, rank: environment.rank, worldSize: worldSize, coordinator: address,
                timeLimit: ControlPlane.joinLimit(environment.timeout)
            ) { [weak self] event in self?.happened(event) }
            try loop.startThread(name: "lockstep-control")
        } catch {
            loop.close()
            throw error
        }
    }

    /// Says to the coordinator that a rank is waited for in vain; the verdict comes as `RingShared.failure`. From any thread.
    func stalled(waitingFor rank: Int, limit: Duration) {
        loop.enqueue { [self] in member?.stalled(waitingFor: rank, limit: limit) }
    }

    /// Says to the coordinator that this worker is done. `RingShared.isOver` follows.
    func leave() {
        loop.enqueue { [self] in member?.leave() }
    }

    /// Ends the thread and closes everything. From the compute thread.
    func stop() {
        loop.enqueue { [self] in
            member?.close()
            coordinator?.close()
        }
        loop.stopAndJoin()
    }

    private static func coordinator(
        _ loop: Loop, _ environment: WorkerEnvironment, _ address: WorkerEnvironment.CoordinatorAddress
    ) throws -> Coordinator {
        do throws(LoopError) {
            return try Coordinator(
                loop: loop, host: address.host, port: address.port, worldSize: environment.worldSize, secret: address.secret,
                joinTimeLimit: joinLimit(environment.timeout)) { _ in }
        } catch {
            throw MembershipError.cannotCoordinate(cause: error.description)
        }
    }

    private func happened(_ event: Member.Event) {
        switch event {
        case .reached(let localHost):
            guard let ring else { return member?.announce(port: 0) ?? () }
            ring.listen(on: localHost) { [self] port in
                _ = loop.enqueue { [self] in member?.announce(port: port) }
            }
        case .formed(let generation, let members):
            for member in members { self.members[Int(member.rank)] = member.hostName }
            guard let ring else { return shared.notify(.computeThread) { $0.isFormed = true } }
            ring.form(generation: generation, members: members)
        case .lost(let rank, let cause):
            let (completed, bytes) = shared.withLock { ($0.completed, $0.bytesSent) }
            fail(
                CollectiveError.peerLost(
                    rank: rank, host: members[rank] ?? "?", operation: completed, bytesMoved: bytes, cause: cause))
        case .failed(let error):
            fail(error)
        case .over:
            shared.notify(.computeThread) { $0.isOver = true }
        }
    }

    private func fail(_ error: any Error) {
        shared.notify(.computeThread) { if $0.failure == nil { $0.failure = error } }
        ring?.interrupt()
    }
}
