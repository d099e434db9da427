import EventLoop
import Membership

/// A worker's membership, on a thread of its own, so that the coordinator is heard, and in rank 0 speaks, whatever the compute thread
/// and the ring are doing.
///
/// Made by the compute thread, whose calls it passes on; what it hears reaches the compute thread and the ring through `RingShared`.
final class ControlPlane: @unchecked Sendable {
    // SAFETY (@unchecked Sendable): all state is made before the loop's thread starts and touched only on it afterwards.

    private let loop: Loop
    private let shared: Monitor<RingShared>
    private var coordinator: Coordinator?
    private var member: Member?
    private var hostNames: [Int: String] = [:]

    static func joinLimit(_ timeout: Duration) -> Duration { min(timeout, .seconds(120)) }

    /// Starts looking for the coordinator; `RingShared.localHost` follows. Throws if the coordinator, where it is to be here, cannot have
    /// its address. `told` is called with what a coordinator here has to tell, on the control thread.
    init(
        environment: WorkerEnvironment, address: WorkerEnvironment.CoordinatorAddress, shared: Monitor<RingShared>,
        told: @escaping @Sendable (MembershipEvent) -> Void
    ) throws {
        self.shared = shared
        loop = try Loop()
        do {
            if address.isOurs { coordinator = try ControlPlane.coordinator(loop, environment, address, told) }
            member = try Member(
                loop: loop, rank: environment.rank, worldSize: environment.worldSize, coordinator: address,
                timeLimit: ControlPlane.joinLimit(environment.timeout),
                reached: { [shared] localHost in shared.notify(.computeThread) { $0.localHost = localHost } },
                happened: { [weak self] event in self?.happened(event) })
            try loop.startThread(name: "lockstep-control")
        } catch {
            loop.close()
            throw error
        }
    }

    // MARK: From any thread

    /// Asks for the next ring. The answer comes as `RingShared.answer`.
    func join(generation: UInt32, isOpen: Bool, isBoundary: Bool, port: UInt16, complaint: Recovery.Complaint?) {
        loop.enqueue { [self] in
            if let complaint { member?.complain(rank: complaint.rank, cause: complaint.cause) }
            member?.join(generation: generation, isOpen: isOpen, isBoundary: isBoundary, port: port)
        }
    }

    /// Says to the coordinator that a rank is waited for in vain; what it makes of it comes as `RingShared.failure`.
    func stalled(waitingFor rank: Int, limit: Duration) {
        loop.enqueue { [self] in member?.stalled(waitingFor: rank, limit: limit) }
    }

    /// Asks for a piece of a section's work. The answer comes as `RingShared.claim`.
    func claim(generation: Int, section: Int, count: Int) {
        loop.enqueue { [self] in
            member?.claim(generation: UInt32(generation), section: UInt64(section), count: UInt32(clamping: count))
        }
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

    // MARK: On the control thread

    private static func coordinator(
        _ loop: Loop, _ environment: WorkerEnvironment, _ address: WorkerEnvironment.CoordinatorAddress,
        _ told: @escaping @Sendable (MembershipEvent) -> Void
    ) throws -> Coordinator {
        var configuration = Coordinator.Configuration(worldSize: environment.worldSize)
        configuration.joinTimeLimit = joinLimit(environment.timeout)
        configuration.peerTimeout = environment.peerTimeout
        configuration.timeout = environment.timeout
        do throws(LoopError) {
            return try Coordinator(
                loop: loop, host: address.host, port: address.port, secret: address.secret, configuration: configuration,
                happened: told)
        } catch {
            throw MembershipError.cannotCoordinate(cause: error.description)
        }
    }

    private func happened(_ event: Member.Event) {
        if case .announced(let announcement) = event {
            for member in announcement.members { hostNames[Int(member.rank)] = member.hostName }
        }
        let plane = shared.notify(.computeThread) { shared in
            shared.news.hear(event, host: { hostNames[$0] ?? "?" }, completed: shared.completed, bytesMoved: shared.bytesSent)
            return shared.plane
        }
        plane?.interrupt()
    }
}
