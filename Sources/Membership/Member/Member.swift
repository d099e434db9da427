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
    /// For the coordinator to be found.
    private let searchLimit: Duration
    /// For a sign of life of a coordinator that owes an answer.
    private let waitLimit: Duration
    private let peerTimeout: Duration
    private var successionPort: SuccessionPort?
    private var search: SuccessorSearch?
    /// Makes this process the coordinator, in the place of one that is lost.
    private let succeed: (SuccessionPort, MemberProtocol.Inheritance) throws -> Void

    /// How long a worker that has left waits for the others to leave too, so that a coordinator in rank 0 is there for all.
    package static let leaveTimeLimit = Duration.seconds(10)

    /// Starts looking for the coordinator, for the environment's `searchTimeout`; a coordinator of which nothing is heard for that long while
    /// this worker waits for a ring is lost.
    ///
    /// - Parameter reached: called when the coordinator is there and has proved itself, with this host's address on the way to it. `join`
    ///   goes on.
    /// - Parameter succeed: opens a coordinator at a port, for the members of one that is lost.
    package init(
        loop: Loop, environment: WorkerEnvironment, coordinator: WorkerEnvironment.CoordinatorAddress,
        reached: @escaping (_ localHost: String) -> Void, happened: @escaping (Event) -> Void,
        succeed: @escaping (SuccessionPort, MemberProtocol.Inheritance) throws -> Void
    ) throws(LoopError) {
        self.loop = loop
        rank = environment.rank
        worldSize = environment.worldSize
        self.coordinator = coordinator
        searchLimit = environment.searchTimeout
        // One that is asked for signs of life at the pace of the peers' time-out gives them no faster.
        waitLimit = max(environment.joinTimeout, environment.peerTimeout * 2)
        peerTimeout = environment.peerTimeout
        self.succeed = succeed
        self.reached = reached
        self.happened = happened
        conversation = MemberProtocol(
            rank: rank, coordinator: SocketAddress.text(host: coordinator.host, port: coordinator.port),
            coordinatorRank: coordinator.isLaunchers ? nil : 0)
        weak var member: Member?
        timer = try Timer(loop: loop) { member?.timeIsUp() }
        connector = try Connector(
            loop: loop, host: coordinator.host, port: coordinator.port, within: searchLimit,
            options: .conversation(patience: environment.peerTimeout)
        ) { result in member?.connected(result) }
        member = self
    }

    /// Joins the next ring: this worker has stopped the last, and takes connections on that port of the address that `reached` gave.
    package func join(generation: UInt32, isOpen: Bool, isBoundary: Bool, port: UInt16) {
        guard let localHost, !isClosed else { return }
        let member = MemberAddress(
            rank: UInt32(rank), host: localHost, port: port, hostName: currentHostName(), processID: getpid(),
            successorPort: successionPort?.address.port ?? 0)
        perform(
            conversation.join(.init(
                generation: generation, isOpen: isOpen, isBoundary: isBoundary, worldSize: UInt32(worldSize), member: member)))
        if conversation.isWaiting { timer?.start(after: waitLimit) }
    }

    /// Says that the ring could not be formed with a rank, or that nothing arrives there.
    package func complain(rank: Int, cause: String) {
        channel?.send(.complain(rank: UInt32(rank), cause: cause))
    }

    /// Says that a connection with a rank has ended.
    package func linkEnded(rank: Int, cause: String) {
        channel?.send(.linkEnded(rank: UInt32(rank), cause: cause))
    }

    /// Says that this worker has done work with all others.
    package func begun() {
        channel?.send(.begun)
    }

    /// Says why this worker is about to end.
    package func failing(_ reason: String) {
        channel?.send(.failing(reason: reason))
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
        search?.cancel()
        successionPort?.close()
        channel?.close()
        timer?.close()
    }

    private var address: String { SocketAddress.text(host: coordinator.host, port: coordinator.port) }

    /// Where nobody is found at an address that leads back to this host.
    private var hint: String {
        coordinator.isLaunchers || !coordinator.leadsHere
            ? "" : "; \(MembershipError.thisHostHint); if it starts later, --join-timeout or LOCKSTEP_JOIN_TIMEOUT says so"
    }

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
            case .findSuccessor(let inheritance): findSuccessor(inheritance)
            }
        }
    }

    private func timeIsUp() {
        perform(conversation.timeIsUp(limit: waitLimit.secondsText))
    }

    private func connected(_ result: Result<TCPStream, LoopError>) {
        connector = nil
        switch result {
        case .failure(let error):
            fail(.noCoordinator(address: address, cause: error.description + hint))
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
        if !coordinator.isLaunchers, !coordinator.isOurs {
            // Without it this worker is the heir of nobody, and no worse off.
            successionPort = try? SuccessionPort(loop: loop, host: stream.localHost, options: .conversation(patience: peerTimeout))
        }
        speak(over: stream)
        reached(stream.localHost)
    }

    private func speak(over stream: TCPStream) {
        channel = ControlChannel(
            stream: stream,
            received: { [weak self] _, message in
                guard let self, !isClosed else { return }
                // Any word of the coordinator's says that it is there.
                if conversation.isWaiting { timer?.start(after: waitLimit) }
                perform(conversation.receive(message))
            },
            ended: { [weak self] _, cause in
                guard let self, !isClosed else { return }
                perform(conversation.connectionEnded(cause))
            })
    }

    // MARK: Succession

    private func findSuccessor(_ inheritance: MemberProtocol.Inheritance) {
        channel = nil
        do throws(LoopError) {
            search = try SuccessorSearch(
                loop: loop, rank: UInt32(rank), heirs: inheritance.heirs, secret: coordinator.secret, patience: peerTimeout
            ) { [weak self] outcome in
                guard let self, !isClosed else { return }
                take(outcome, inheritance)
            }
        } catch {
            perform(conversation.notAdopted(error.description))
        }
    }

    private func take(_ outcome: SuccessorSearch.Outcome, _ inheritance: MemberProtocol.Inheritance) {
        switch outcome {
        case .found(let rank, let stream): adopted(by: rank, over: stream)
        case .notNeeded(let rank):
            perform(
                conversation.notAdopted(
                    "its connection with this worker is lost, and rank \(rank)'s is not: this worker is shut out, the others go on without it"))
        case .isOurs:
            do {
                guard let successionPort else { preconditionFailure("an heir without a port") }
                try succeed(successionPort, inheritance)
                try callSuccessor(successionPort.address)
            } catch {
                perform(conversation.notAdopted("\(error)"))
            }
        }
    }

    /// The coordinator is in this process now, and this worker a member like others.
    private func callSuccessor(_ address: SocketAddress) throws {
        connector = try Connector(loop: loop, host: address.host, port: address.port, within: waitLimit) { [weak self] result in
            guard let self, !isClosed else { return (try? result.get())?.close() ?? () }
            connector = nil
            do {
                let stream = try result.get()
                let own = Introduction(purpose: .control, generation: 0, rank: UInt32(rank))
                let handshake = try Handshake.connecting(
                    secret: coordinator.secret, own: own, expectedRank: Introduction.coordinatorRank)
                _ = try HandshakeRunner(stream: stream, handshake: handshake) { [weak self] result in
                    guard let self, !isClosed else { return stream.close() }
                    switch result {
                    case .success: adopted(by: UInt32(rank), over: stream)
                    case .failure(let failure): perform(conversation.notAdopted(failure.description))
                    }
                }
            } catch {
                perform(conversation.notAdopted("\(error)"))
            }
        }
    }

    private func adopted(by rank: UInt32, over stream: TCPStream) {
        speak(over: stream)
        perform(conversation.adopted(by: rank))
        if conversation.isWaiting { timer?.start(after: waitLimit) }
    }
}

/// What this machine calls itself, for messages to people.
package func currentHostName() -> String {
    var name = [CChar](repeating: 0, count: 256)
    guard gethostname(&name, name.count - 1) == 0 else { return "localhost" }
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
