import EventLoop
import Glibc
import Wire

/// A worker's side of the membership: finds the coordinator, proves itself, and speaks with it. What follows from what it hears is
/// decided elsewhere.
///
/// Confined to the loop's thread; its events come on that thread.
package final class Member {
    package enum Event {
        /// The coordinator is there and has proved itself; this host has this address on the way to it. `join` goes on.
        case reached(localHost: String)
        /// The ring of a generation: all members in order of rank, this one among them. `stop`: why the run is to stop.
        case announced(generation: UInt32, members: [MemberAddress], stop: String?)
        /// The job is running: prepare, then join again.
        case toldToPrepare
        /// This worker is not needed any more. The member is closed.
        case retired
        /// Another member went without leaving.
        case lost(rank: Int, cause: String)
        /// The ring is broken.
        case interrupted(cause: String)
        /// The ring is to be formed anew at the next boundary.
        case wishesReform
        case claimed(generation: UInt32, section: UInt64, piece: Int?)
        /// This worker is no member; the member is closed.
        case failed(MembershipError)
        /// All members have left, or this one has waited long enough for them. The member is closed.
        case over
    }

    private enum Phase {
        case connecting
        /// Not waiting for anything.
        case present
        /// It has joined and waits for the next ring.
        case joined
        case leaving
        case closed
    }

    private let loop: Loop
    private let rank: Int
    private let worldSize: Int
    private let coordinator: WorkerEnvironment.CoordinatorAddress
    private let happened: (Event) -> Void
    private var phase = Phase.connecting
    private var connector: Connector?
    private var channel: ControlChannel?
    private var localHost: String?
    private var timer: Timer?
    private let timeLimit: Duration
    private var generation: UInt32 = 0

    /// How long a worker that has left waits for the others to leave too, so that a coordinator in rank 0 is there for all.
    package static let leaveTimeLimit = Duration.seconds(10)

    /// Starts looking for the coordinator, for `timeLimit`; a coordinator of which nothing is heard for that long while this worker
    /// waits for a ring is lost.
    package init(
        loop: Loop, rank: Int, worldSize: Int, coordinator: WorkerEnvironment.CoordinatorAddress, timeLimit: Duration,
        happened: @escaping (Event) -> Void
    ) throws(LoopError) {
        self.loop = loop
        self.rank = rank
        self.worldSize = worldSize
        self.coordinator = coordinator
        self.timeLimit = timeLimit
        self.happened = happened
        weak var member: Member?
        timer = try Timer(loop: loop) { member?.timeIsUp() }
        connector = try Connector(loop: loop, host: coordinator.host, port: coordinator.port, within: timeLimit) { result in
            member?.connected(result)
        }
        member = self
    }

    /// Joins the next ring: this worker has stopped the last, and takes connections on that port of the address that `.reached` named.
    package func join(generation: UInt32, isOpen: Bool, isBoundary: Bool, port: UInt16) {
        guard case .present = phase, let channel, let localHost else { return }
        phase = .joined
        let member = MemberAddress(
            rank: UInt32(rank), host: localHost, port: port, hostName: currentHostName(), processID: getpid())
        channel.send(
            .join(.init(
                generation: generation, isOpen: isOpen, isBoundary: isBoundary, worldSize: UInt32(worldSize), member: member)))
        timer?.start(after: timeLimit)
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
        guard case .present = phase else { return }
        phase = .leaving
        channel?.send(.leave)
        timer?.start(after: Member.leaveTimeLimit)
    }

    /// Ends the connection without a word: to the others this worker is lost.
    package func close() {
        guard phase != .closed else { return }
        phase = .closed
        connector?.cancel()
        channel?.close()
        timer?.close()
    }

    private var address: String { SocketAddress.text(host: coordinator.host, port: coordinator.port) }

    private func fail(_ error: MembershipError) {
        guard phase != .closed else { return }
        close()
        happened(.failed(error))
    }

    private func timeIsUp() {
        switch phase {
        case .joined:
            fail(.coordinatorLost(address: address, cause: "nothing was heard of it for \(timeLimit.secondsText)"))
        case .leaving: end()
        case .connecting, .present, .closed: break
        }
    }

    private func end() {
        close()
        happened(.over)
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
                guard let self, phase != .closed else { return stream.close() }
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
        phase = .present
        localHost = stream.localHost
        channel = ControlChannel(
            stream: stream, received: { [weak self] _, message in self?.take(message) },
            ended: { [weak self] _, cause in self?.channelEnded(cause) })
        happened(.reached(localHost: stream.localHost))
    }

    private func take(_ message: ControlMessage) {
        guard phase != .closed else { return }
        // Any word of the coordinator's says that it is there.
        if case .joined = phase { timer?.start(after: timeLimit) }
        switch message {
        case .ring(let generation, let members, let stop): announced(generation, members, stop)
        case .prepare: answered(.toldToPrepare)
        case .refuse(let reason): fail(.refused(reason: reason))
        case .lost(let rank, let cause): happened(.lost(rank: Int(rank), cause: cause))
        case .interrupt(let cause): happened(.interrupted(cause: cause))
        case .reform: happened(.wishesReform)
        case .retire:
            close()
            happened(.retired)
        case .ping: channel?.send(.pong)
        case .claimed(let generation, let section, let piece):
            happened(.claimed(generation: generation, section: section, piece: piece.map { Int($0) }))
        case .over: end()
        case .join, .leave, .stalled, .pong, .complain, .claim, .scale, .scaled:
            fail(.coordinatorLost(address: address, cause: "it sent what only a worker sends"))
        }
    }

    private func announced(_ generation: UInt32, _ members: [MemberAddress], _ stop: String?) {
        let isInOrder = zip(members, members.dropFirst()).allSatisfy { $0.rank < $1.rank }
        guard isInOrder, members.contains(where: { Int($0.rank) == rank }), generation > self.generation else {
            return fail(.coordinatorLost(address: address, cause: "it announced a ring that cannot be"))
        }
        self.generation = generation
        answered(.announced(generation: generation, members: members, stop: stop))
    }

    private func answered(_ event: Event) {
        guard case .joined = phase else {
            return fail(.coordinatorLost(address: address, cause: "it answered what was not asked"))
        }
        phase = .present
        timer?.stop()
        happened(event)
    }

    private func channelEnded(_ cause: String) {
        switch phase {
        case .connecting, .present, .joined: fail(.coordinatorLost(address: address, cause: cause))
        case .leaving: end()
        case .closed: break
        }
    }
}

/// What this machine calls itself, for messages to people.
package func currentHostName() -> String {
    var name = [CChar](repeating: 0, count: 256)
    guard gethostname(&name, name.count - 1) == 0 else { return "localhost" }
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
