import EventLoop
import Wire

/// A rank's connections with others, and the protocols over them: the ring for what is long, exchanges for what is short.
///
/// Owns the connections. Confined to the loop's thread.
final class RingConnections: RingLink, ExchangeLink, FrameReceiver {
    private var ring: RingProtocol<RingConnections>!
    private var exchange: ExchangeProtocol<RingConnections>!
    private var order = OperationOrder()
    private let worldSize: Int
    private var left: FrameConnection!
    private var right: FrameConnection!
    /// In the order of `ExchangePlan.partners`.
    private var partners: [FrameConnection] = []
    /// The partners that are the target and the origin of each round.
    private var targets: [FrameConnection] = []
    private var origins: [FrameConnection] = []
    private let completedThrough: (UInt64) -> Void
    private let failed: (CollectiveError) -> Void
    private var hasEnded = false

    private var watch: Timer?
    private let timeout: Duration
    private let lookInterval: Duration
    private let silenceLimit: Duration
    /// The connection that has ended, and whether by silence.
    private(set) var lostLink: (place: Int, cause: String, isSilent: Bool)?
    private var lastSeen: (bytes: UInt64, at: SuspendingClock.Instant) = (0, .now)
    private var lastLook = SuspendingClock.now

    /// A header and the beginning of its payload, which is copied where it is part of a long one.
    private static let ringInboxBytes = 1024 + FrameHeader.byteCount
    private static let partnerInboxBytes = 4096 + 2 * FrameHeader.byteCount

    /// Takes the streams over. `neighbour` says who a rank is; `packs` as for `RingProtocol`; what is sent and has not arrived anywhere near
    /// the peer within `silenceLimit` never will.
    init(
        _ streams: RingFormation.Streams, rank: Int, worldSize: Int, generation: UInt32, packs: Bool, timeout: Duration,
        silenceLimit: Duration,
        neighbour: (Int) -> Neighbour, completedThrough: @escaping (UInt64) -> Void, failed: @escaping (CollectiveError) -> Void
    ) throws(LoopError) {
        self.worldSize = worldSize
        self.timeout = timeout
        lookInterval = min(timeout / 8, .seconds(1))
        self.silenceLimit = silenceLimit
        self.completedThrough = completedThrough
        self.failed = failed
        ring = RingProtocol(rank: rank, worldSize: worldSize, generation: generation, packs: packs, link: self)
        exchange = ExchangeProtocol(rank: rank, worldSize: worldSize, generation: generation, link: self)
        let watch = try Timer(loop: streams.left.loop) { [weak self] in self?.lookForProgress() }
        watch.start(every: lookInterval)
        self.watch = watch
        func connection(_ stream: TCPStream, _ rank: Int, isRing: Bool) throws(LoopError) -> FrameConnection {
            FrameConnection(
                try DataSocket(taking: stream), peer: neighbour(rank), generation: generation,
                payloadLimit: isRing ? ring.payloadLimit : exchange.payloadLimit,
                inboxBytes: isRing ? RingConnections.ringInboxBytes : RingConnections.partnerInboxBytes,
                sendsAtOnce: isRing ? ring.mostSends : exchange.mostSends, receiver: self)
        }
        do throws(LoopError) {
            left = try connection(streams.left, (rank + worldSize - 1) % worldSize, isRing: true)
            // The right neighbour sends nothing; reading from it is how its end is noticed while nothing is sent to it.
            right = try connection(streams.right, (rank + 1) % worldSize, isRing: true)
            for (rank, stream) in streams.partners { partners.append(try connection(stream, rank, isRing: false)) }
        } catch {
            close()
            throw error
        }
        let plan = exchange.plan
        func partner(_ rank: Int) -> FrameConnection { partners.first { $0.peer.rank == rank }! }
        targets = (0..<plan.rounds).map { partner(plan.target($0)) }
        origins = (0..<plan.rounds).map { partner(plan.origin($0)) }
    }

    private var all: [FrameConnection] { [left, right].compactMap { $0 } + partners }

    /// Payload bytes that this rank has sent.
    var bytesSent: UInt64 { ring.bytesSent + exchange.bytesSent }
    private var bytesMoved: UInt64 { bytesSent + ring.bytesReceived + exchange.bytesReceived }

    func submit(_ operation: CollectiveOperation) {
        guard !hasEnded else { return }
        if !order.isBusy { lastSeen.at = .now }
        let sequence = order.submit()
        attempt { () throws(CollectiveError) in
            if ExchangeProtocol<RingConnections>.isFor(operation, worldSize: worldSize) {
                try ring.passed(operation, sequence: sequence)
                try exchange.submit(operation, sequence: sequence)
            } else {
                try exchange.passed(operation, sequence: sequence)
                try ring.submit(operation, sequence: sequence)
            }
        }
    }

    /// Receives what has come for the operations under way, without the loop. Whether anything had.
    func receive() -> Bool {
        guard !hasEnded else { return true }
        var isAny = false
        if let round = exchange.awaitedRound { isAny = origins[round].receive() }
        if !hasEnded, ring.isBusy { isAny = left.receive() || isAny }
        return isAny
    }

    /// Closes all connections; operations under way never end.
    func close() {
        guard !hasEnded else { return }
        hasEnded = true
        watch?.close()
        for connection in all { connection.close() }
    }

    // MARK: RingLink, ExchangeLink

    func send(header: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, token: Int) -> Bool {
        right.send(header: header, body: body, token: token)
    }

    func resume() {
        left.resume()
    }

    func send(round: Int, header: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, token: Int) -> Bool {
        targets[round].send(header: header, body: body, token: token)
    }

    func resume(round: Int) {
        origins[round].resume()
    }

    func completed(_ sequence: UInt64) {
        if order.end(sequence) { completedThrough(order.completed) }
    }

    // MARK: FrameReceiver

    func landing(_ connection: FrameConnection, for header: FrameHeader) throws(CollectiveError) -> Landing {
        if connection === left { return try ring.landing(for: header) }
        guard let round = round(of: connection) else {
            throw .protocolViolation(rank: connection.peer.rank, fault: "a frame against the direction of the connection")
        }
        return try exchange.landing(for: header, round: round)
    }

    func landed(_ connection: FrameConnection) throws(CollectiveError) {
        if connection === left { return try ring.landed() }
        try exchange.landed(round: round(of: connection)!)
    }

    func wrote(_ connection: FrameConnection, token: Int) throws(CollectiveError) {
        if connection === right { return try ring.wrote(token: token) }
        try exchange.wrote(token: token)
    }

    func failed(_ connection: FrameConnection, _ error: CollectiveError) {
        fail(error)
    }

    func lost(_ connection: FrameConnection, cause: String, isSilent: Bool) {
        guard !hasEnded else { return }
        lostLink = (connection.peer.rank, cause, isSilent)
        fail(
            .peerLost(
                rank: connection.peer.rank, host: connection.peer.host, operation: order.completed, bytesMoved: bytesMoved,
                cause: cause))
    }

    private func round(of connection: FrameConnection) -> Int? {
        origins.firstIndex { $0 === connection }
    }

    // MARK: Failing

    private func attempt(_ body: () throws(CollectiveError) -> Void) {
        do throws(CollectiveError) {
            try body()
        } catch {
            fail(error)
        }
    }

    private func fail(_ error: CollectiveError) {
        guard !hasEnded else { return }
        close()
        failed(error)
    }

    private func lookForProgress() {
        for connection in all { connection.watch(limit: silenceLimit) }
        guard !hasEnded else { return }
        let bytes = bytesMoved
        let now = SuspendingClock.now
        // While this process stood still it saw nothing of what may have come: that is no time in which a peer has been silent.
        let stoodStill = now - lastLook - lookInterval
        if stoodStill > lookInterval { lastSeen.at += stoodStill }
        lastLook = now
        guard order.isBusy, bytes == lastSeen.bytes else {
            lastSeen = (bytes, now)
            return
        }
        guard now - lastSeen.at >= timeout, !hasEnded else { return }
        // The connections stay open: who waits for this rank must not take it for the one that holds everybody up.
        watch?.stop()
        let awaited = exchange.awaitedRank(sequence: order.completed).flatMap { rank in partners.first { $0.peer.rank == rank }?.peer } ?? left.peer
        failed(
            .noProgress(
                rank: exchange.plan.rank, waitingFor: awaited.rank, host: awaited.host, operation: order.completed,
                bytesMoved: bytes, limit: now - lastSeen.at))
    }
}
