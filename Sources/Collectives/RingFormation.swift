import EventLoop
import Membership
import Wire

/// Brings a rank's two ring connections about: listens for the left neighbour, connects to the right one, and ends when both have
/// proved themselves. Whoever else comes is refused.
///
/// Confined to the loop's thread.
final class RingFormation {
    struct Streams {
        var left: TCPStream
        var right: TCPStream
    }

    private let loop: Loop
    private let rank: Int
    private let worldSize: Int
    private let secret: Secret
    private let timeLimit: Duration
    private let ended: (Result<Streams, CollectiveError>) -> Void
    private var members: [MemberAddress] = []
    private var generation: UInt32 = 0
    private var listener: TCPListener?
    private var waiting: [TCPStream] = []
    private var left: TCPStream?
    private var right: TCPStream?
    private var timer: Timer?
    private var retry: Timer?
    private var hasEnded = false

    /// Connections that may wait for the ring to be announced. The neighbour's comes within moments of the announcement, so what has
    /// waited longest is a stranger's, and makes room.
    private static let mostWaiting = 16
    private static let pauseBeforeRetry = Duration.milliseconds(20)

    init(
        loop: Loop, rank: Int, worldSize: Int, secret: Secret, timeLimit: Duration,
        ended: @escaping (Result<Streams, CollectiveError>) -> Void
    ) {
        self.loop = loop
        self.rank = rank
        self.worldSize = worldSize
        self.secret = secret
        self.timeLimit = timeLimit
        self.ended = ended
    }

    /// Listens on any free port of the address; gives the port.
    func listen(on host: String) throws(LoopError) -> UInt16 {
        let listener = try TCPListener(loop: loop, host: host, port: 0) { [weak self] result in
            guard case .success(let stream) = result else { return }
            guard let self, !hasEnded else { return stream.close() }
            accept(stream)
        }
        self.listener = listener
        return listener.address.port
    }

    /// The ring has been announced: connects to the right neighbour, and judges those who came early.
    func form(generation: UInt32, members: [MemberAddress]) {
        self.generation = generation
        self.members = members
        do throws(LoopError) {
            let timer = try Timer(loop: loop) { [weak self] in self?.timeIsUp() }
            timer.start(after: timeLimit)
            self.timer = timer
            retry = try Timer(loop: loop) { [weak self] in self?.connectRight() }
        } catch {
            fail(members[rightRank], error.description)
        }
        connectRight()
        for stream in waiting { judge(stream) }
        waiting = []
    }

    private func connectRight() {
        guard !hasEnded else { return }
        let neighbour = members[rightRank]
        do throws(LoopError) {
            _ = try Connector(loop: loop, host: neighbour.host, port: neighbour.port, within: timeLimit) { [weak self] result in
                switch result {
                case .failure(let error): self?.fail(neighbour, error.description)
                case .success(let stream):
                    guard let self, !hasEnded else { return stream.close() }
                    connectedRight(stream)
                }
            }
        } catch {
            fail(neighbour, error.description)
        }
    }

    func cancel() {
        end(nil)
    }

    private var leftRank: Int { (rank + worldSize - 1) % worldSize }
    private var rightRank: Int { (rank + 1) % worldSize }

    private func own() -> Introduction {
        Introduction(purpose: .ring, generation: generation, rank: UInt32(rank))
    }

    private func accept(_ stream: TCPStream) {
        // The left neighbour may hear of the ring before this rank does; it waits, unread, until the generation is known.
        guard members.isEmpty else { return judge(stream) }
        if waiting.count >= RingFormation.mostWaiting { waiting.removeFirst().close() }
        waiting.append(stream)
    }

    private func judge(_ stream: TCPStream) {
        let handshake = Handshake.accepting(secret: secret, own: own(), expectedRank: UInt32(leftRank))
        run(handshake, over: stream) { [weak self] result in
            guard let self, !hasEnded, left == nil, case .success = result else { return stream.close() }
            left = stream
            endIfComplete()
        }
    }

    private func connectedRight(_ stream: TCPStream) {
        do throws(WireError) {
            let handshake = try Handshake.connecting(secret: secret, own: own(), expectedRank: UInt32(rightRank))
            run(handshake, over: stream) { [weak self] result in
                guard let self, !hasEnded else { return stream.close() }
                switch result {
                case .success:
                    right = stream
                    endIfComplete()
                case .failure(.wire(let error)):
                    fail(members[rightRank], error.description)
                case .failure:
                    // It was crowded out, or the neighbour's kernel dropped it: neither says that the neighbour is not there.
                    retry?.start(after: RingFormation.pauseBeforeRetry)
                }
            }
        } catch {
            stream.close()
            fail(members[rightRank], error.description)
        }
    }

    private func run(
        _ handshake: consuming Handshake, over stream: TCPStream,
        completion: @escaping (Result<Introduction, HandshakeRunner.Failure>) -> Void
    ) {
        do throws(LoopError) {
            _ = try HandshakeRunner(stream: stream, handshake: handshake, completion: completion)
        } catch {
            completion(.failure(.connection(error)))
        }
    }

    private func endIfComplete() {
        guard let left, let right else { return }
        end(.success(Streams(left: left, right: right)))
    }

    private func timeIsUp() {
        let missing = right == nil ? members[rightRank] : members[leftRank]
        fail(missing, "not there within \(timeLimit.secondsText)")
    }

    private func fail(_ neighbour: MemberAddress, _ cause: String) {
        end(.failure(.noRing(rank: Int(neighbour.rank), host: neighbour.hostName, cause: cause)))
    }

    /// The first end counts. Connections that are not handed over are closed.
    private func end(_ result: Result<Streams, CollectiveError>?) {
        guard !hasEnded else { return }
        hasEnded = true
        listener?.close()
        timer?.close()
        retry?.close()
        for stream in waiting { stream.close() }
        if case .success = result {} else {
            left?.close()
            right?.close()
        }
        if let result { ended(result) }
    }
}
