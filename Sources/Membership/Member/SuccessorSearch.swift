import EventLoop
import Wire

/// Finds the member that takes a lost coordinator's place: the lowest rank that answers as a coordinator. When all
/// lower ranks are known to be gone, it is this one.
///
/// Confined to the loop's thread. `ended` runs once, unless `cancel` is called first.
final class SuccessorSearch {
    enum Outcome {
        /// A lower rank coordinates, over this connection.
        case found(rank: UInt32, TCPStream)
        /// This worker is to coordinate.
        case isOurs
        /// A lower rank is there, and does not coordinate: it has not lost the coordinator.
        case notNeeded(rank: UInt32)
    }

    private let loop: Loop
    private let rank: UInt32
    private let secret: Secret
    private let options: StreamOptions
    private var lower: [UInt32: MemberAddress] = [:]
    /// Ranks that take connections.
    private var present: Set<UInt32> = []
    private var connectors: [UInt32: Connector] = [:]
    private var timer: Timer?
    private var ended: ((Outcome) -> Void)?

    init(
        loop: Loop, rank: UInt32, heirs: [MemberAddress], secret: Secret, patience: Duration, ended: @escaping (Outcome) -> Void
    ) throws(LoopError) {
        self.loop = loop
        self.rank = rank
        self.secret = secret
        self.ended = ended
        options = .conversation(patience: patience)
        for heir in heirs where heir.rank < rank { lower[heir.rank] = heir }
        let timer = try Timer(loop: loop) { [weak self] in self?.timeIsUp() }
        self.timer = timer
        // Every lower rank has ended its own search by then, however many of those before it do not answer.
        timer.start(after: patience * (3 + lower.count))
        // Never before init has returned.
        let begin = try Timer(loop: loop) { [weak self] in self?.begin() }
        begin.start(after: .zero)
        starter = begin
    }

    private var starter: Timer?

    func cancel() {
        finish(nil)
    }

    private func begin() {
        starter?.close()
        if lower.isEmpty { return finish(.isOurs) }
        for heir in lower.values { call(heir) }
    }

    private func call(_ heir: MemberAddress) {
        guard ended != nil else { return }
        do throws(LoopError) {
            connectors[heir.rank] = try Connector(
                loop: loop, host: heir.host, port: heir.successorPort, options: options
            ) { [weak self] result in
                guard let self, ended != nil else { return (try? result.get())?.close() ?? () }
                connectors[heir.rank] = nil
                switch result {
                case .success(let stream): introduce(heir, stream)
                case .failure: isGone(heir.rank)
                }
            }
        } catch {
            isGone(heir.rank)
        }
    }

    private func introduce(_ heir: MemberAddress, _ stream: TCPStream) {
        present.insert(heir.rank)
        let own = Introduction(purpose: .control, generation: 0, rank: rank)
        do {
            let handshake = try Handshake.connecting(secret: secret, own: own, expectedRank: Introduction.coordinatorRank)
            _ = try HandshakeRunner(stream: stream, handshake: handshake) { [weak self] result in
                guard let self, ended != nil else { return stream.close() }
                switch result {
                case .success: finish(.found(rank: heir.rank, stream))
                // It may notice the loss a little later.
                case .failure(.timedOut): call(heir)
                case .failure: isGone(heir.rank)
                }
            }
        } catch {
            stream.close()
            isGone(heir.rank)
        }
    }

    private func isGone(_ rank: UInt32) {
        lower[rank] = nil
        present.remove(rank)
        if lower.isEmpty { finish(.isOurs) }
    }

    private func timeIsUp() {
        finish(present.min().map { .notNeeded(rank: $0) } ?? .isOurs)
    }

    private func finish(_ outcome: Outcome?) {
        guard let ended else { return }
        self.ended = nil
        timer?.close()
        starter?.close()
        for connector in connectors.values { connector.cancel() }
        connectors = [:]
        if let outcome { ended(outcome) }
    }
}
