import EventLoop
import Membership
import Wire

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

    /// Tells that this worker looks for the coordinator on its own host, and has not found it.
    private var lookingHere: Timer?
    /// So long nobody is told.
    private static let timeUntilHint = Duration.seconds(3)
    /// The others may need so long to learn from a coordinator in this process that the job is over; mostly milliseconds.
    private static let farewellTime = Duration.seconds(10)
    /// So long the control thread may take to send a word.
    private static let wordTime = Duration.seconds(1)

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
                loop: loop, environment: environment, coordinator: address,
                reached: { [weak self] localHost in self?.reached(localHost) },
                happened: { [weak self] notice in self?.happened(notice) },
                succeed: { [weak self] port, inheritance in
                    try self?.succeed(port, inheritance, environment, secret: address.secret, told)
                })
            if environment.isByHand, !address.isOurs, address.leadsHere {
                let text = SocketAddress.text(host: address.host, port: address.port)
                lookingHere = try Timer(loop: loop) { told(.nobodyHere(address: text)) }
                lookingHere?.start(after: ControlPlane.timeUntilHint)
            }
            try loop.startThread(name: "lockstep-control")
        } catch {
            loop.close()
            throw error
        }
    }

    // MARK: From any thread

    /// Asks for the next ring, after saying what was wrong with the last. The answer comes as `RingShared.answer`.
    func join(generation: UInt32, isOpen: Bool, isBoundary: Bool, port: UInt16, reports: [RingShared.LinkReport]) {
        loop.enqueue { [self] in
            for report in reports {
                if report.isSilent {
                    member?.complain(rank: report.rank, cause: report.cause)
                } else {
                    member?.linkEnded(rank: report.rank, cause: report.cause)
                }
            }
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

    /// Says to the coordinator that this worker has done work with all others.
    func begun() {
        loop.enqueue { [self] in member?.begun() }
    }

    /// Says why this worker ends. A coordinator in this process tells the others, where the job has not begun.
    func failing(_ reason: String) {
        loop.enqueue { [self] in
            if let coordinator { coordinator.giveUp(reason) } else { member?.failing(reason) }
        }
    }

    /// Says to a launcher why this worker ends, and returns when that has left.
    func announceFailure(_ reason: String) {
        let isUnderWay = loop.enqueue { [self] in
            member?.failing(reason)
            shared.notify(.computeThread) { $0.isFailureSaid = true }
        }
        if isUnderWay { shared.wait(.computeThread, for: ControlPlane.wordTime) { $0.isFailureSaid ? () : nil } }
    }

    /// Ends the thread and closes everything. From the compute thread. Where the coordinator is in this process, it waits until the others
    /// have what was said to them.
    func stop() {
        let isUnderWay = loop.enqueue { [self] in
            member?.close()
            lookingHere?.close()
            let done = { [shared] in shared.notify(.computeThread) { $0.isControlDone = true } }
            if let coordinator { coordinator.finish(done) } else { done() }
        }
        if isUnderWay { shared.wait(.computeThread, for: ControlPlane.farewellTime) { $0.isControlDone ? () : nil } }
        loop.stopAndJoin()
    }

    // MARK: On the control thread

    private static func coordinator(
        _ loop: Loop, _ environment: WorkerEnvironment, _ address: WorkerEnvironment.CoordinatorAddress,
        _ told: @escaping @Sendable (MembershipEvent) -> Void
    ) throws -> Coordinator {
        do throws(LoopError) {
            return try Coordinator(
                loop: loop, host: address.host, port: address.port, secret: address.secret,
                configuration: configuration(environment), happened: told)
        } catch {
            throw MembershipError.cannotCoordinate(cause: error.description)
        }
    }

    /// This process is the coordinator from now on, in the place of one that is lost.
    private func succeed(
        _ port: SuccessionPort, _ inheritance: MemberProtocol.Inheritance, _ environment: WorkerEnvironment, secret: Secret,
        _ told: @escaping @Sendable (MembershipEvent) -> Void
    ) throws {
        coordinator = try Coordinator(
            loop: loop, port: port, secret: secret, configuration: ControlPlane.configuration(environment), succeeding: inheritance,
            happened: told)
    }

    private static func configuration(_ environment: WorkerEnvironment) -> Coordinator.Configuration {
        var configuration = Coordinator.Configuration(worldSize: environment.worldSize)
        configuration.joinTimeLimit = environment.joinTimeout
        configuration.ownRank = UInt32(environment.rank)
        configuration.peerTimeout = environment.peerTimeout
        configuration.timeout = environment.timeout
        return configuration
    }

    private func reached(_ localHost: String) {
        lookingHere?.close()
        shared.notify(.computeThread) { $0.localHost = localHost }
    }

    private func happened(_ notice: MemberProtocol.Notice) {
        let plane = shared.notify(.computeThread) { shared in
            shared.news.receive(.told(notice, completed: shared.completed, bytesMoved: shared.bytesSent))
            return shared.plane
        }
        plane?.interrupt()
    }
}
