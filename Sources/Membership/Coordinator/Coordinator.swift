import EventLoop
import Wire

/// Accepts control connections and drives a `Roster` with them. Lives in the launcher, or, where workers are started by
/// hand, in rank 0. Confined to its loop's thread.
package final class Coordinator {
    package typealias Event = MembershipEvent

    /// What the job allows for.
    package struct Configuration: Sendable {
        package var worldSize: Int
        /// How long the ranks of the first world may take to join.
        package var joinTimeLimit = Duration.seconds(120)
        /// A worker of which nothing was heard for this long is frozen, and is sent away.
        package var peerTimeout = Duration.seconds(5)
        /// A worker that lives and does not come to the next ring for this long is stuck, and is sent away.
        package var timeout = Duration.seconds(300)
        /// With fewer workers than these the run waits for more...
        package var minWorkers = 1
        /// ... for this long; then it writes a checkpoint and stops.
        package var rejoinTimeout = Duration.seconds(60)
        /// Whether the others go on when a worker is lost, and workers may come while the job runs.
        package var isElastic = true
        /// The rank in whose process the coordinator is, where workers were started by hand and are not started again.
        /// nil under a launcher.
        package var ownRank: UInt32?

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
    /// The newest connection when a rank's process ended: what comes over it, or over older ones, was said by that
    /// process.
    private var lastOfTheDead: [UInt32: Roster.Connection] = [:]
    /// How many closed connections have not yet delivered their last message.
    private var closing = 0
    private var listeners: [TCPListener] = []
    private let timer: Timer
    private let start = SuspendingClock.now
    private var told: Set<String> = []
    private let happened: (Event) -> Void
    private var isClosed = false
    /// Called when every rank has been told all that there is to tell; set by `finish`.
    private var finished: (() -> Void)?

    /// The most strangers that are reported; a port scan must not fill memory or the log.
    private static let strangersTold = 16
    /// The most further addresses of this host that are listened on for workers that come from other hosts.
    private static let mostScouts = 16

    /// Listens at once; throws when the address cannot be had.
    package convenience init(
        loop: Loop, host: String, port: UInt16, secret: Secret, configuration: Configuration,
        happened: @escaping (Event) -> Void
    ) throws(LoopError) {
        weak var coordinator: Coordinator?
        func accepted(_ result: Result<TCPStream, LoopError>) {
            guard case .success(let stream) = result else { return }
            guard let coordinator else { return stream.close() }
            coordinator.greet(stream)
        }
        let options = StreamOptions.conversation(patience: configuration.peerTimeout)
        let listener = try TCPListener(loop: loop, host: host, port: port, options: options, accepted: accepted)
        do throws(LoopError) {
            try self.init(
                loop: loop, address: listener.address, secret: secret, roster: Roster(configuration), happened: happened)
        } catch {
            listener.close()
            throw error
        }
        listeners = [listener]
        coordinator = self
        guard configuration.ownRank != nil, listener.address.isLoopback else { return }
        // Only this host's workers can reach that address. One that tries to from another host is told so, and so are
        // all others.
        for other in SocketAddress.ofThisHost().prefix(Coordinator.mostScouts) where !other.isLoopback {
            let scout = try? TCPListener(loop: loop, host: other.host, port: address.port, options: options, accepted: accepted)
            if let scout { listeners.append(scout) }
        }
    }

    /// Takes the place of a coordinator that is lost, at a port that its members know.
    package convenience init(
        loop: Loop, port: SuccessionPort, secret: Secret, configuration: Configuration,
        succeeding inheritance: MemberProtocol.Inheritance, happened: @escaping (Event) -> Void
    ) throws(LoopError) {
        try self.init(
            loop: loop, address: port.address, secret: secret, roster: Roster(configuration, succeeding: inheritance),
            happened: happened)
        port.open { [weak self] stream in
            guard let self, !isClosed else { return stream.close() }
            greet(stream)
        }
    }

    private init(
        loop: Loop, address: SocketAddress, secret: Secret, roster: consuming Roster, happened: @escaping (Event) -> Void
    ) throws(LoopError) {
        self.secret = secret
        self.happened = happened
        self.address = address
        self.roster = roster
        weak var coordinator: Coordinator?
        timer = try Timer(loop: loop) { coordinator?.receive(.tick) }
        coordinator = self
        timer.start(after: self.roster.nextDeadline)
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

    /// The process of a rank has ended, as a launcher sees. `willReturn`: it is being started again.
    package func processEnded(rank: Int, willReturn: Bool = false) {
        lastOfTheDead[UInt32(rank)] = nextConnection
        receive(.processEnded(rank: UInt32(rank), willReturn: willReturn))
    }

    /// Asks for this many workers, as `lockstep scale` does: those of higher ranks go at the next boundary, and
    /// `MembershipEvent.scale` follows, for the launcher to start those that are missing. Returns the reason where that
    /// cannot be.
    @discardableResult
    package func scale(to workers: Int) -> String? {
        if let refusal = roster.scaleRefusal(workers) { return refusal }
        receive(.scale(workers: workers))
        return nil
    }

    /// The job cannot be, for this reason: the process that the coordinator is in ends.
    package func giveUp(_ reason: String) {
        receive(.giveUp(reason: reason))
    }

    /// Stops accepting and closes every connection, after what was sent has left.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        for listener in listeners { listener.close() }
        timer.close()
        for channel in channels.values { channel.close() }
        channels = [:]
    }

    /// As `close`, but `finished` is called when what was sent has arrived, and, where the job was over before it
    /// began, all ranks have come and been told so. That may never happen: the caller limits its wait.
    package func finish(_ finished: @escaping () -> Void) {
        self.finished = finished
        if roster.uninformed.isEmpty { closeGently() }
        finishIfDone()
    }

    private func closeGently() {
        for connection in channels.keys.sorted() { close(connection) }
    }

    private func close(_ connection: Roster.Connection) {
        guard let channel = channels.removeValue(forKey: connection) else { return }
        closing += 1
        channel.close { [weak self] in
            guard let self else { return }
            closing -= 1
            finishIfDone()
        }
    }

    private func finishIfDone() {
        guard let finished, roster.uninformed.isEmpty, closing == 0 else { return }
        self.finished = nil
        close()
        finished()
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
                case .failure(let failure): refused(stream.peerAddress, failure)
                }
            }
        } catch {
            stream.close()
        }
    }

    private func refused(_ address: String, _ failure: HandshakeRunner.Failure) {
        var claim: UInt32?
        // A claim without a proof: it only serves to say which rank may be missing.
        if case .wire(_, let introduction?) = failure, introduction.purpose == .control { claim = introduction.rank }
        let cause = failure.description
        receive(.refusedStranger("\(address): \(cause)", claim: claim))
        let host = address.split(separator: ":").dropLast().joined(separator: ":")
        guard told.count < Coordinator.strangersTold, told.insert(host + cause).inserted else { return }
        happened(.refusedStranger(address: address, cause: cause))
    }

    private func admit(_ stream: TCPStream, _ peer: Introduction, _ connection: Roster.Connection) {
        let isClient = peer.purpose == .client
        if !isClient { hasMetWorkers = true }
        if !isClient, stream.isFromElsewhere { receive(.isElsewhere(connection, host: stream.peerHost)) }
        channels[connection] = ControlChannel(
            stream: stream,
            received: { [weak self] channel, message in
                guard let self, !isClosed else { return }
                if isClient { return answer(message, of: connection, over: channel) }
                // A process may end right after it has sent a message, which must not be taken for its rank's next
                // process's.
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
            let text = "the job is to have \(workers) worker\(workers == 1 ? "" : "s")"
            channel.send(refusal.map { .refuse(reason: $0) } ?? .scaled(text: text))
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
            case .close(let connection): close(connection)
            case .tell(let event): happened(event)
            }
        }
        guard !isClosed else { return }
        // No worker that comes to the wrong address is expected any more.
        if listeners.count > 1, roster.generation > 0 || roster.isOver && roster.uninformed.isEmpty {
            for scout in listeners.dropFirst() { scout.close() }
            listeners = [listeners[0]]
        }
        timer.start(after: max(.zero, roster.nextDeadline - (SuspendingClock.now - start)))
        if finished != nil, roster.uninformed.isEmpty { closeGently() }
        finishIfDone()
    }
}
