import EventLoop
import Wire

/// The coordinator: accepts control connections and does what the `Roster` says. Lives in the launcher, or, where workers are
/// started by hand, in rank 0. Confined to its loop's thread.
package final class Coordinator {
    /// Things that people may want to know; the command decides what becomes of them.
    package enum Event: Sendable {
        case formed(generation: UInt32)
        case lost(rank: Int)
        /// A connection that did not prove itself was closed. Told once for each address and cause.
        case refusedStranger(address: String, cause: String)
    }

    package let address: SocketAddress
    /// Whether any worker has proved itself yet.
    package private(set) var hasMetWorkers = false
    private let secret: Secret
    private var roster: Roster
    private var channels: [Roster.Connection: ControlChannel] = [:]
    private var ranks: [Roster.Connection: UInt32] = [:]
    private var nextConnection = 0
    private var listener: TCPListener?
    private var timer: Timer?
    private let stallTimer: Timer
    private var told: Set<String> = []
    private var lastRefused: String?
    private let happened: (Event) -> Void

    /// Strangers told of; a port scan must not fill memory or the log.
    private static let strangersTold = 16

    /// Listens at once; throws when the address cannot be had. `joinTimeLimit` is how long the ranks may take to join.
    package init(
        loop: Loop, host: String, port: UInt16, worldSize: Int, secret: Secret, joinTimeLimit: Duration,
        happened: @escaping (Event) -> Void
    ) throws(LoopError) {
        self.secret = secret
        self.happened = happened
        roster = Roster(worldSize: worldSize)
        weak var coordinator: Coordinator?
        let listener = try TCPListener(loop: loop, host: host, port: port) { result in
            if case .success(let stream) = result {
                guard let coordinator else { return stream.close() }
                coordinator.greet(stream)
            }
        }
        self.listener = listener
        address = listener.address
        stallTimer = try Timer(loop: loop) {
            guard let coordinator else { return }
            coordinator.perform(coordinator.roster.judgeStall())
        }
        let timer = try Timer(loop: loop) {
            guard let coordinator else { return }
            coordinator.perform(coordinator.roster.deadlinePassed(limit: joinTimeLimit, refused: coordinator.lastRefused))
        }
        timer.start(after: joinTimeLimit)
        self.timer = timer
        coordinator = self
    }

    /// The process of a rank has ended: for launchers, which see it.
    package func processEnded(rank: Int) {
        perform(roster.processEnded(rank: UInt32(rank)))
    }

    /// Stops accepting and closes every connection, after what was sent has left.
    package func close() {
        listener?.close()
        timer?.close()
        stallTimer.close()
        for channel in channels.values { channel.close() }
        channels = [:]
    }

    private func greet(_ stream: TCPStream) {
        let own = Introduction(purpose: .control, generation: 0, rank: Introduction.coordinatorRank)
        do throws(LoopError) {
            _ = try HandshakeRunner(stream: stream, handshake: .accepting(secret: secret, own: own)) { [weak self] result in
                guard let self else { return stream.close() }
                switch result {
                case .success(let peer): admit(stream, peer)
                case .failure(let failure): tell(stream.peerAddress, failure.description)
                }
            }
        } catch {
            stream.close()
        }
    }

    private func tell(_ address: String, _ cause: String) {
        lastRefused = "\(address): \(cause)"
        let host = address.split(separator: ":").dropLast().joined(separator: ":")
        guard told.count < Coordinator.strangersTold, told.insert(host + cause).inserted else { return }
        happened(.refusedStranger(address: address, cause: cause))
    }

    private func admit(_ stream: TCPStream, _ peer: Introduction) {
        hasMetWorkers = true
        nextConnection += 1
        let connection = nextConnection
        ranks[connection] = peer.rank
        channels[connection] = ControlChannel(
            stream: stream,
            received: { [weak self] _, message in self?.take(message, from: connection) },
            ended: { [weak self] _, cause in self?.connectionEnded(connection, cause) })
    }

    private func take(_ message: ControlMessage, from connection: Roster.Connection) {
        switch message {
        case .join(let worldSize, let member):
            perform(roster.join(connection, provenRank: ranks[connection] ?? 0, worldSize: worldSize, member: member))
        case .leave:
            perform(roster.leave(connection))
        case .stalled(let waitingFor, let limit):
            perform(roster.stalled(connection, waitingFor: waitingFor, limit: .milliseconds(Int64(limit))))
        case .ring, .refuse, .lost, .over:
            // Only a coordinator says these; a worker that does is not one of this build.
            channels[connection]?.close()
            connectionEnded(connection, "it sent what only a coordinator sends")
        }
    }

    private func connectionEnded(_ connection: Roster.Connection, _ cause: String) {
        channels[connection] = nil
        ranks[connection] = nil
        perform(roster.closed(connection, cause: cause))
    }

    private func perform(_ actions: [Roster.Action]) {
        for action in actions {
            switch action {
            case .send(let message, let connection):
                channels[connection]?.send(message)
            case .close(let connection):
                channels.removeValue(forKey: connection)?.close()
            case .formed(let generation):
                timer?.stop()
                happened(.formed(generation: generation))
            case .judgeStall(let delay):
                stallTimer.start(after: delay)
            case .lost(let rank):
                happened(.lost(rank: Int(rank)))
            }
        }
    }
}
