import EventLoop
import Glibc
import Wire

/// A worker's side of the membership: finds the coordinator, proves itself, and drives a `MemberProtocol` over that
/// connection.
///
/// Confined to the loop's thread; what it tells comes on that thread.
package final class Member {
    /// What there is of a connection to a coordinator.
    private enum Link {
        case connecting(Connector)
        /// The handshake is under way.
        case introducing
        case speaking(ControlChannel)
        /// The coordinator is lost: looks for the member that takes its place.
        case searching(SuccessorSearch)
        /// The conversation is over.
        case closed
    }

    private let loop: Loop
    private let environment: WorkerEnvironment
    private let coordinator: WorkerEnvironment.CoordinatorAddress
    private let happened: (MemberProtocol.Notice) -> Void
    private let reached: (_ localHost: String) -> Void
    /// Makes this process the coordinator, in the place of one that is lost.
    private let succeed: (SuccessionPort, MemberProtocol.Inheritance) throws -> Void
    private let timer: Timer
    private let start = SuspendingClock.now
    private var conversation: MemberProtocol
    private var link = Link.introducing
    /// This host's address on the way to the coordinator, once that is reached.
    private var localHost: String?
    private var successionPort: SuccessionPort?

    /// Starts looking for the coordinator, for the environment's `searchTimeout`.
    ///
    /// - Parameter reached: called when the coordinator is there and has proved itself, with this host's address on the
    ///   way to it. `join` goes on.
    /// - Parameter succeed: opens a coordinator at a port, for the members of one that is lost.
    package init(
        loop: Loop, environment: WorkerEnvironment, coordinator: WorkerEnvironment.CoordinatorAddress,
        reached: @escaping (_ localHost: String) -> Void, happened: @escaping (MemberProtocol.Notice) -> Void,
        succeed: @escaping (SuccessionPort, MemberProtocol.Inheritance) throws -> Void
    ) throws(LoopError) {
        self.loop = loop
        self.environment = environment
        self.coordinator = coordinator
        self.succeed = succeed
        self.reached = reached
        self.happened = happened
        conversation = MemberProtocol(
            rank: environment.rank, coordinator: SocketAddress.text(host: coordinator.host, port: coordinator.port),
            coordinatorRank: coordinator.isLaunchers ? nil : 0, waitLimit: Member.waitLimit(environment))
        weak var member: Member?
        timer = try Timer(loop: loop) { member?.receive(.tick) }
        link = .connecting(
            try Connector(
                loop: loop, host: coordinator.host, port: coordinator.port, within: environment.searchTimeout,
                options: .conversation(patience: environment.peerTimeout)
            ) { result in member?.connected(result) })
        member = self
    }

    /// The longest silence of a coordinator that owes an answer. One that is asked for signs of life at the pace of the
    /// peers' time-out gives them no faster.
    private static func waitLimit(_ environment: WorkerEnvironment) -> Duration {
        max(environment.joinTimeout, environment.peerTimeout * 2)
    }

    private var isClosed: Bool { if case .closed = link { true } else { false } }

    // MARK: What this worker says

    /// Joins the next ring: this worker has stopped the last, and takes connections on that port of the address that
    /// `reached` gave.
    package func join(generation: UInt32, isOpen: Bool, isBoundary: Bool, port: UInt16) {
        guard let localHost else { return }
        let member = MemberAddress(
            rank: UInt32(environment.rank), host: localHost, port: port, hostName: currentHostName(),
            processID: getpid(), successorPort: successionPort?.address.port ?? 0)
        receive(
            .join(.init(
                generation: generation, isOpen: isOpen, isBoundary: isBoundary,
                worldSize: UInt32(environment.worldSize), member: member)))
    }

    /// Says that this worker's work is done. `.over` follows.
    package func leave() {
        receive(.leave)
    }

    /// Says that the ring could not be formed with a rank, or that nothing arrives there.
    package func complain(rank: Int, cause: String) {
        send(.complain(rank: UInt32(rank), cause: cause))
    }

    /// Says that a connection with a rank has ended.
    package func linkEnded(rank: Int, cause: String) {
        send(.linkEnded(rank: UInt32(rank), cause: cause))
    }

    /// Says that this worker has done work with all others.
    package func begun() {
        send(.begun)
    }

    /// Says why this worker is about to end.
    package func failing(_ reason: String) {
        send(.failing(reason: reason))
    }

    /// Says that nothing has come from a rank for the whole time-out. What the coordinator makes of it follows.
    package func stalled(waitingFor rank: Int, limit: Duration) {
        send(.stalled(waitingFor: UInt32(rank), limitMilliseconds: UInt32(clamping: limit.millisecondsRoundedUp)))
    }

    /// Asks for a piece of a section's work. `.claimed` follows.
    package func claim(generation: UInt32, section: UInt64, count: UInt32) {
        send(.claim(generation: generation, section: section, count: count))
    }

    private func send(_ message: ControlMessage) {
        if case .speaking(let channel) = link { channel.send(message) }
    }

    /// Ends the connection without a word: to the others this worker is lost.
    package func close() {
        switch link {
        case .connecting(let connector): connector.cancel()
        case .searching(let search): search.cancel()
        case .speaking(let channel): channel.close()
        case .introducing: break
        case .closed: return
        }
        link = .closed
        successionPort?.close()
        timer.close()
    }

    // MARK: Driving the conversation

    private func receive(_ event: MemberProtocol.Event) {
        guard !isClosed else { return }
        let now = SuspendingClock.now - start
        for action in conversation.receive(event, at: now) {
            switch action {
            case .send(let message): send(message)
            case .tell(let notice): happened(notice)
            case .close: close()
            case .findSuccessor(let inheritance): findSuccessor(inheritance)
            }
        }
        guard !isClosed else { return }
        if let next = conversation.nextDeadline { timer.start(after: max(.zero, next - now)) } else { timer.stop() }
    }

    private func speak(over stream: TCPStream) {
        link = .speaking(
            ControlChannel(
                stream: stream, received: { [weak self] _, message in self?.receive(.said(message)) },
                ended: { [weak self] _, cause in self?.receive(.connectionEnded(cause: cause)) }))
    }

    // MARK: Finding the coordinator

    private func connected(_ result: Result<TCPStream, LoopError>) {
        link = .introducing
        switch result {
        case .failure(let error): fail(error.description + hint)
        case .success(let stream):
            introduce(stream) { [weak self] result in
                switch result {
                case .success: self?.reached(over: stream)
                case .failure(let failure): self?.fail("\(failure)")
                }
            }
        }
    }

    /// Proves to a coordinator that this worker belongs to the job. `ended` is not called once this member is closed;
    /// after a failure the stream is closed.
    private func introduce(_ stream: TCPStream, ended: @escaping (Result<Void, any Error>) -> Void) {
        do {
            let own = Introduction(purpose: .control, generation: 0, rank: UInt32(environment.rank))
            let handshake = try Handshake.connecting(
                secret: coordinator.secret, own: own, expectedRank: Introduction.coordinatorRank)
            _ = try HandshakeRunner(stream: stream, handshake: handshake) { [weak self] result in
                guard let self, !isClosed else { return stream.close() }
                ended(result.map { _ in }.mapError { $0 as any Error })
            }
        } catch {
            stream.close()
            ended(.failure(error))
        }
    }

    private func reached(over stream: TCPStream) {
        localHost = stream.localHost
        if !coordinator.isLaunchers, !coordinator.isOurs {
            // Without a port this worker is no heir, and no worse off.
            let options = StreamOptions.conversation(patience: environment.peerTimeout)
            successionPort = try? SuccessionPort(loop: loop, host: stream.localHost, options: options)
        }
        speak(over: stream)
        reached(stream.localHost)
    }

    private func fail(_ cause: String) {
        guard !isClosed else { return }
        close()
        let address = SocketAddress.text(host: coordinator.host, port: coordinator.port)
        happened(.failed(.noCoordinator(address: address, cause: cause)))
    }

    /// Where no coordinator is found at an address that leads back to this host.
    private var hint: String {
        coordinator.isLaunchers || !coordinator.leadsHere
            ? ""
            : "; \(MembershipError.thisHostHint); if it starts later, --join-timeout or "
                + "\(WorkerEnvironment.Key.joinTimeout.rawValue) says so"
    }

    // MARK: Succession

    private func findSuccessor(_ inheritance: MemberProtocol.Inheritance) {
        do throws(LoopError) {
            link = .searching(
                try SuccessorSearch(
                    loop: loop, rank: UInt32(environment.rank), heirs: inheritance.heirs, secret: coordinator.secret,
                    patience: environment.peerTimeout
                ) { [weak self] outcome in
                    guard let self, !isClosed else { return }
                    searchEnded(outcome, inheritance)
                })
        } catch {
            link = .introducing
            receive(.notAdopted(cause: error.description))
        }
    }

    private func searchEnded(_ outcome: SuccessorSearch.Outcome, _ inheritance: MemberProtocol.Inheritance) {
        switch outcome {
        case .found(let rank, let stream): adopted(by: rank, over: stream)
        case .notNeeded(let rank):
            receive(
                .notAdopted(
                    cause: "its connection with this worker is lost, and rank \(rank)'s is not: this worker is shut "
                        + "out, the others go on without it"))
        case .isOurs:
            do {
                guard let successionPort else { preconditionFailure("an heir without a port") }
                try succeed(successionPort, inheritance)
                try callOwnCoordinator(successionPort.address)
            } catch {
                receive(.notAdopted(cause: "\(error)"))
            }
        }
    }

    /// The coordinator is in this process now, and this worker a member like others.
    private func callOwnCoordinator(_ address: SocketAddress) throws(LoopError) {
        link = .connecting(
            try Connector(
                loop: loop, host: address.host, port: address.port, within: Member.waitLimit(environment)
            ) { [weak self] result in
                guard let self, !isClosed else { return (try? result.get())?.close() ?? () }
                link = .introducing
                switch result {
                case .failure(let error): receive(.notAdopted(cause: "\(error)"))
                case .success(let stream):
                    introduce(stream) { [weak self] result in
                        guard let self else { return }
                        switch result {
                        case .success: adopted(by: UInt32(environment.rank), over: stream)
                        case .failure(let failure): receive(.notAdopted(cause: "\(failure)"))
                        }
                    }
                }
            })
    }

    private func adopted(by rank: UInt32, over stream: TCPStream) {
        speak(over: stream)
        receive(.adopted(by: rank))
    }
}

/// What this machine calls itself, for messages to people.
package func currentHostName() -> String {
    var name = [CChar](repeating: 0, count: 256)
    guard gethostname(&name, name.count - 1) == 0 else { return "localhost" }
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
