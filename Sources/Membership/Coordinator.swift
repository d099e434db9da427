import EventLoop
import Wire

/// The coordinator: accepts control connections and does what the `Roster` says. Lives in the launcher, or, where workers are
/// started by hand, in rank 0. Confined to its loop's thread.
package final class Coordinator {
    package typealias Event = MembershipEvent

    /// What the job allows for.
    package struct Configuration: Sendable {
        package var worldSize: Int
        /// How long the ranks of the first world may take to join.
        package var joinTimeLimit = Duration.seconds(120)
        /// A worker of which nothing was heard for so long is frozen, and is sent away.
        package var peerTimeout = Duration.seconds(5)
        /// A worker that lives and does not come to the next ring for so long is stuck, and is sent away.
        package var timeout = Duration.seconds(300)
        /// With fewer workers than these the run waits for more...
        package var minWorkers = 1
        /// ... for so long; then it is to checkpoint and stop.
        package var rejoinTimeout = Duration.seconds(60)
        /// Whether the others go on when a worker is lost, and workers may come while the job runs.
        package var isElastic = true

        package init(worldSize: Int) {
            self.worldSize = worldSize
        }
    }

    package let address: SocketAddress
    /// Whether any worker has proved itself yet.
    package private(set) var hasMetWorkers = false
    private let secret: Secret
    private var roster: Roster
    private var channels: [Roster.Connection: ControlChannel] = [:]
    private var nextConnection = 0
    /// The newest connection when a rank's process ended: what comes from there, or from older ones, was said by the dead.
    private var lastOfTheDead: [UInt32: Roster.Connection] = [:]
    private var listener: TCPListener?
    private let timer: Timer
    private let start = SuspendingClock.now
    private var told: Set<String> = []
    private let happened: (Event) -> Void
    private var isClosed = false

    /// Strangers told of; a port scan must not fill memory or the log.
    private static let strangersTold = 16

    /// Listens at once; throws when the address cannot be had.
    package init(
        loop: Loop, host: String, port: UInt16, secret: Secret, configuration: Configuration,
        happened: @escaping (Event) -> Void
    ) throws(LoopError) {
        self.secret = secret
        self.happened = happened
        roster = Roster(configuration)
        weak var coordinator: Coordinator?
        let listener = try TCPListener(loop: loop, host: host, port: port) { result in
            if case .success(let stream) = result {
                guard let coordinator else { return stream.close() }
                coordinator.greet(stream)
            }
        }
        self.listener = listener
        address = listener.address
        do throws(LoopError) {
            timer = try Timer(loop: loop) { coordinator?.receive(.tick) }
        } catch {
            listener.close()
            throw error
        }
        coordinator = self
        timer.start(after: roster.nextDeadline)
    }

    /// As the other initializer does, for a job with the usual limits.
    package convenience init(
        loop: Loop, host: String, port: UInt16, worldSize: Int, secret: Secret, joinTimeLimit: Duration,
        happened: @escaping (Event) -> Void
    ) throws(LoopError) {
        var configuration = Configuration(worldSize: worldSize)
        configuration.joinTimeLimit = joinTimeLimit
        try self.init(loop: loop, host: host, port: port, secret: secret, configuration: configuration, happened: happened)
    }

    /// The process of a rank has ended: for launchers, which see it. `willReturn` says whether it is being started again.
    package func processEnded(rank: Int, willReturn: Bool = false) {
        lastOfTheDead[UInt32(rank)] = nextConnection
        receive(.processEnded(rank: UInt32(rank), willReturn: willReturn))
    }

    /// Asks for so many workers, as `lockstep scale` does: those of higher ranks go at the next boundary, and `Event.scale` follows, for
    /// the launcher to start those that are missing. Gives the reason where that cannot be.
    @discardableResult
    package func scale(to workers: Int) -> String? {
        if let refusal = roster.scaleRefusal(workers) { return refusal }
        receive(.scale(workers: workers))
        return nil
    }

    /// Stops accepting and closes every connection, after what was sent has left.
    package func close() {
        isClosed = true
        listener?.close()
        timer.close()
        for channel in channels.values { channel.close() }
        channels = [:]
    }

    private func greet(_ stream: TCPStream) {
        let own = Introduction(purpose: .control, generation: 0, rank: Introduction.coordinatorRank)
        nextConnection += 1
        let connection = nextConnection
        do throws(LoopError) {
            let handshake = Handshake.accepting(secret: secret, own: own, otherPurposes: [.client])
            _ = try HandshakeRunner(stream: stream, handshake: handshake) { [weak self] result in
                guard let self, !isClosed else { return stream.close() }
                switch result {
                case .success(let peer): admit(stream, peer, connection)
                case .failure(let failure): tell(stream.peerAddress, failure.description)
                }
            }
        } catch {
            stream.close()
        }
    }

    private func tell(_ address: String, _ cause: String) {
        receive(.refusedStranger("\(address): \(cause)"))
        let host = address.split(separator: ":").dropLast().joined(separator: ":")
        guard told.count < Coordinator.strangersTold, told.insert(host + cause).inserted else { return }
        happened(.refusedStranger(address: address, cause: cause))
    }

    private func admit(_ stream: TCPStream, _ peer: Introduction, _ connection: Roster.Connection) {
        let isClient = peer.purpose == .client
        if !isClient { hasMetWorkers = true }
        channels[connection] = ControlChannel(
            stream: stream,
            received: { [weak self] channel, message in
                guard let self, !isClosed else { return }
                if isClient { return answer(message, of: connection, over: channel) }
                // A process may end right after it has spoken, and its rank's next one is not to be taken for it.
                guard connection > lastOfTheDead[peer.rank] ?? 0 else { return }
                receive(.said(message, connection, provenRank: peer.rank))
            },
            ended: { [weak self] _, cause in
                guard let self, !isClosed else { return }
                channels[connection] = nil
                receive(.closed(connection, cause: cause))
            })
    }

    /// A client asks once and is answered once.
    private func answer(_ message: ControlMessage, of connection: Roster.Connection, over channel: ControlChannel) {
        channels[connection] = nil
        if case .scale(let workers) = message {
            let refusal = scale(to: Int(workers))
            channel.send(refusal.map { .refuse(reason: $0) } ?? .scaled(text: "the job is to have \(workers) worker\(workers == 1 ? "" : "s")"))
        } else {
            channel.send(.refuse(reason: "a client can only ask for a number of workers"))
        }
        channel.close()
    }

    private func receive(_ event: Roster.Event) {
        guard !isClosed else { return }
        for action in roster.receive(event, at: SuspendingClock.now - start) {
            switch action {
            case .send(let message, let connection): channels[connection]?.send(message)
            case .close(let connection): channels.removeValue(forKey: connection)?.close()
            case .tell(let event): happened(event)
            }
        }
        guard !isClosed else { return }
        timer.start(after: max(.zero, roster.nextDeadline - (SuspendingClock.now - start)))
    }
}
