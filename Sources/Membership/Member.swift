import EventLoop
import Glibc
import Wire

/// A worker's side of the membership: finds the coordinator, proves itself, and speaks with it as `MemberProtocol` says.
///
/// Confined to the loop's thread; its events come on that thread.
package final class Member {
    package typealias Event = MemberProtocol.Event

    private let loop: Loop
    private let rank: Int
    private let worldSize: Int
    private let coordinator: WorkerEnvironment.CoordinatorAddress
    private let happened: (Event) -> Void
    private let reached: (_ localHost: String) -> Void
    private var conversation: MemberProtocol
    private var isClosed = false
    private var connector: Connector?
    private var channel: ControlChannel?
    private var localHost: String?
    private var timer: Timer?
    private let timeLimit: Duration

    /// How long a worker that has left waits for the others to leave too, so that a coordinator in rank 0 is there for all.
    package static let leaveTimeLimit = Duration.seconds(10)

    /// Starts looking for the coordinator, for `timeLimit`; a coordinator of which nothing is heard for that long while this worker
    /// waits for a ring is lost.
    ///
    /// - Parameter reached: called when the coordinator is there and has proved itself, with this host's address on the way to it. `join`
    ///   goes on.
    package init(
        loop: Loop, rank: Int, worldSize: Int, coordinator: WorkerEnvironment.CoordinatorAddress, timeLimit: Duration,
        reached: @escaping (_ localHost: String) -> Void, happened: @escaping (Event) -> Void
    ) throws(LoopError) {
        self.loop = loop
        self.rank = rank
        self.worldSize = worldSize
        self.coordinator = coordinator
        self.timeLimit = timeLimit
        self.reached = reached
        self.happened = happened
        conversation = MemberProtocol(rank: rank, coordinator: SocketAddress.text(host: coordinator.host, port: coordinator.port))
        weak var member: Member?
        timer = try Timer(loop: loop) { member?.timeIsUp() }
        connector = try Connector(loop: loop, host: coordinator.host, port: coordinator.port, within: timeLimit) { result in
            member?.connected(result)
        }
        member = self
    }

    /// Joins the next ring: this worker has stopped the last, and takes connections on that port of the address that `reached` gave.
    package func join(generation: UInt32, isOpen: Bool, isBoundary: Bool, port: UInt16) {
        guard let localHost, !isClosed else { return }
        let member = MemberAddress(
            rank: UInt32(rank), host: localHost, port: port, hostName: currentHostName(), processID: getpid())
        perform(
            conversation.join(.init(
                generation: generation, isOpen: isOpen, isBoundary: isBoundary, worldSize: UInt32(worldSize), member: member)))
        if conversation.isWaiting { timer?.start(after: timeLimit) }
    }

    /// Says that the ring could not be formed with a rank.
    package func complain(rank: Int, cause: String) {
        channel?.send(.complain(rank: UInt32(rank), cause: cause))
    }

    /// Says that nothing has come from a rank for the whole time-out. What the coordinator makes of it follows.
    package func stalled(waitingFor rank: Int, limit: Duration) {
        channel?.send(.stalled(waitingFor: UInt32(rank), limitMilliseconds: UInt32(clamping: limit.millisecondsRoundedUp)))
    }

    /// Asks for a piece of a section's work. `.claimed` follows.
    package func claim(generation: UInt32, section: UInt64, count: UInt32) {
        channel?.send(.claim(generation: generation, section: section, count: count))
    }

    /// Says that this worker's work is done. `.over` follows.
    package func leave() {
        guard !isClosed else { return }
        perform(conversation.leave())
        if !isClosed { timer?.start(after: Member.leaveTimeLimit) }
    }

    /// Ends the connection without a word: to the others this worker is lost.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        connector?.cancel()
        channel?.close()
        timer?.close()
    }

    private var address: String { SocketAddress.text(host: coordinator.host, port: coordinator.port) }

    private func fail(_ error: MembershipError) {
        guard !isClosed else { return }
        close()
        happened(.failed(error))
    }

    private func perform(_ actions: [MemberProtocol.Action]) {
        for action in actions {
            switch action {
            case .send(let message): channel?.send(message)
            case .tell(let event): happened(event)
            case .close: close()
            }
        }
    }

    private func timeIsUp() {
        perform(conversation.timeIsUp(limit: timeLimit.secondsText))
    }

    private func connected(_ result: Result<TCPStream, LoopError>) {
        connector = nil
        switch result {
        case .failure(let error):
            fail(.noCoordinator(address: address, cause: error.description))
        case .success(let stream):
            do throws(WireError) {
                let own = Introduction(purpose: .control, generation: 0, rank: UInt32(rank))
                let handshake = try Handshake.connecting(
                    secret: coordinator.secret, own: own, expectedRank: Introduction.coordinatorRank)
                introduce(stream, handshake)
            } catch {
                stream.close()
                fail(.noCoordinator(address: address, cause: error.description))
            }
        }
    }

    private func introduce(_ stream: TCPStream, _ handshake: consuming Handshake) {
        do throws(LoopError) {
            _ = try HandshakeRunner(stream: stream, handshake: handshake) { [weak self] result in
                guard let self, !isClosed else { return stream.close() }
                switch result {
                case .success: reached(over: stream)
                case .failure(let failure): fail(.noCoordinator(address: address, cause: failure.description))
                }
            }
        } catch {
            stream.close()
            fail(.noCoordinator(address: address, cause: error.description))
        }
    }

    private func reached(over stream: TCPStream) {
        localHost = stream.localHost
        channel = ControlChannel(
            stream: stream,
            received: { [weak self] _, message in
                guard let self, !isClosed else { return }
                // Any word of the coordinator's says that it is there.
                if conversation.isWaiting { timer?.start(after: timeLimit) }
                perform(conversation.receive(message))
            },
            ended: { [weak self] _, cause in
                guard let self, !isClosed else { return }
                perform(conversation.connectionEnded(cause))
            })
        reached(stream.localHost)
    }
}

/// What this machine calls itself, for messages to people.
package func currentHostName() -> String {
    var name = [CChar](repeating: 0, count: 256)
    guard gethostname(&name, name.count - 1) == 0 else { return "localhost" }
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
