import EventLoop
import Glibc
import Wire

/// A worker's side of the membership: finds the coordinator, proves itself, joins, and hears who else is in.
///
/// Confined to the loop's thread; its events come on that thread.
package final class Member {
    package enum Event {
        /// The coordinator is there and has proved itself; this host has this address on the way to it. `announce` goes on.
        case reached(localHost: String)
        /// The ring of a generation: all members in order of rank, this one among them.
        case formed(generation: UInt32, members: [MemberAddress])
        /// Another member went without leaving.
        case lost(rank: Int, cause: String)
        /// No ring will come of this; the member is closed.
        case failed(MembershipError)
        /// All members have left, or this one has waited long enough for them.
        case over
    }

    private enum Phase {
        case joining
        case running
        case leaving
        case closed
    }

    private let loop: Loop
    private let rank: Int
    private let worldSize: Int
    private let coordinator: WorkerEnvironment.CoordinatorAddress
    private let happened: (Event) -> Void
    private var phase = Phase.joining
    private var connector: Connector?
    private var channel: ControlChannel?
    private var localHost: String?
    private var timer: Timer?
    private let timeLimit: Duration

    /// How long a worker that has left waits for the others to leave too, so that a coordinator in rank 0 is there for all.
    package static let leaveTimeLimit = Duration.seconds(10)

    /// Starts looking for the coordinator.
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
        let timer = try Timer(loop: loop) { member?.timeIsUp() }
        self.timer = timer
        connector = try Connector(loop: loop, host: coordinator.host, port: coordinator.port, within: timeLimit) { result in
            member?.connected(result)
        }
        member = self
        // The coordinator has the same limit and knows who is missing: it speaks first.
        timer.start(after: timeLimit + .seconds(5))
    }

    /// Joins: this worker takes ring connections on that port of the address that `.reached` named.
    package func announce(port: UInt16) {
        guard case .joining = phase, let channel, let localHost else { return }
        let member = MemberAddress(
            rank: UInt32(rank), host: localHost, port: port, hostName: currentHostName(), processID: getpid())
        channel.send(.join(worldSize: UInt32(worldSize), member: member))
    }

    /// Says that nothing has come from a rank for the whole time-out. `.lost` follows, with the rank that holds everybody up.
    package func stalled(waitingFor rank: Int, limit: Duration) {
        channel?.send(.stalled(waitingFor: UInt32(rank), limitMilliseconds: UInt32(clamping: limit.millisecondsRoundedUp)))
    }

    /// Says that this worker's work is done. `.over` follows.
    package func leave() {
        guard case .running = phase else { return }
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
        case .joining: fail(.tooLate(limit: timeLimit))
        case .leaving: end()
        case .running, .closed: break
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
                case .success: join(stream)
                case .failure(let failure): fail(.noCoordinator(address: address, cause: failure.description))
                }
            }
        } catch {
            stream.close()
            fail(.noCoordinator(address: address, cause: error.description))
        }
    }

    private func join(_ stream: TCPStream) {
        localHost = stream.localHost
        channel = ControlChannel(
            stream: stream, received: { [weak self] _, message in self?.take(message) },
            ended: { [weak self] _, cause in self?.channelEnded(cause) })
        happened(.reached(localHost: stream.localHost))
    }

    private func take(_ message: ControlMessage) {
        switch message {
        case .ring(let generation, let members):
            guard case .joining = phase, members.count == worldSize,
                members.enumerated().allSatisfy({ $0 == Int($1.rank) })
            else { return fail(.coordinatorLost(address: address, cause: "it announced a ring that cannot be")) }
            phase = .running
            timer?.stop()
            happened(.formed(generation: generation, members: members))
        case .refuse(let reason):
            fail(.refused(reason: reason))
        case .lost(let rank, let cause):
            happened(.lost(rank: Int(rank), cause: cause))
        case .over:
            end()
        case .join, .leave, .stalled:
            fail(.coordinatorLost(address: address, cause: "it sent what only a worker sends"))
        }
    }

    private func channelEnded(_ cause: String) {
        switch phase {
        case .joining, .running: fail(.coordinatorLost(address: address, cause: cause))
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
