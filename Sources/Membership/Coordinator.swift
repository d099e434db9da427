import EventLoop
import Wire

/// The coordinator: accepts control connections and does what the `Roster` says. Lives in the launcher, or, where workers are
/// started by hand, in rank 0. Confined to its loop's thread.
package final class Coordinator {
    /// Things that people may want to know; the command decides what becomes of them.
    package enum Event: Sendable {
        /// A generation's ring has been announced to its members, whose ranks these are.
        case formed(generation: UInt32, ranks: [Int])
        /// A member went, or was sent, without leaving.
        case lost(rank: Int, cause: String)
        /// A member has given no sign of life for `peerTimeout`: its process, if it is there, is to be killed. `lost` comes as well.
        case fenced(rank: Int)
        /// A worker is there: as one of the first world, or as a newcomer, who prepares and comes in later.
        case joined(rank: Int, processID: Int32, host: String, isNewcomer: Bool)
        /// A member has done its work, or has gone because it was asked to (`scale`).
        case left(rank: Int)
        /// The run stands still until there are more workers, or `rejoinTimeout` is over.
        case waitingForWorkers(have: Int, need: Int)
        /// Somebody wants so many workers: the launcher starts those that are not there. Ranks beyond go at the next boundary.
        case scale(workers: Int)
        /// A connection that did not prove itself was closed. Told once for each address and cause.
        case refusedStranger(address: String, cause: String)
    }

    /// What the job allows for.
    package struct Configuration: Sendable {
        package var worldSize: Int
        /// How long the ranks of the first world may take to join.
        package var joinTimeLimit = Duration.seconds(120)
        /// A worker of which nothing was heard for so long is frozen, and is sent away.
        package var peerTimeout = Duration.seconds(5)
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
    package convenience init(
        loop: Loop, host: String, port: UInt16, worldSize: Int, secret: Secret, joinTimeLimit: Duration,
        happened: @escaping (Event) -> Void
    ) throws(LoopError) {
        var configuration = Configuration(worldSize: worldSize)
        configuration.joinTimeLimit = joinTimeLimit
        try self.init(loop: loop, host: host, port: port, secret: secret, configuration: configuration, happened: happened)
    }

    /// Listens at once; throws when the address cannot be had.
    package init(
        loop: Loop, host: String, port: UInt16, secret: Secret, configuration: Configuration,
        happened: @escaping (Event) -> Void
    ) throws(LoopError) {
        let joinTimeLimit = configuration.joinTimeLimit
        self.secret = secret
        self.happened = happened
        roster = Roster(worldSize: configuration.worldSize)
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

    /// The process of a rank has ended: for launchers, which see it. `willReturn` says whether it is being started again.
    package func processEnded(rank: Int, willReturn: Bool = false) {
        perform(roster.processEnded(rank: UInt32(rank)))
    }

    /// Asks for so many workers, as `lockstep scale` does: those of higher ranks go at the next boundary, and `Event.scale` follows, for
    /// the launcher to start those that are missing.
    package func scale(to workers: Int) {
        happened(.scale(workers: workers))
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
                happened(.formed(generation: generation, ranks: Array(0..<roster.worldSize)))
            case .judgeStall(let delay):
                stallTimer.start(after: delay)
            case .lost(let rank):
                happened(.lost(rank: Int(rank), cause: "its process ended or closed the connection"))
            }
        }
    }
}
