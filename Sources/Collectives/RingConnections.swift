import EventLoop
import Wire

/// The two connections of a rank's place in the ring, and the protocol between them: bytes in from the left neighbour, straight
/// to where they belong; bytes out to the right one, straight from where they are.
///
/// Owns both streams. Confined to the loop's thread.
final class RingConnections: RingLink, StreamReceiver {
    /// A neighbour, as errors name it.
    struct Neighbour {
        var rank: Int
        var host: String
    }

    private(set) var ring: RingProtocol<RingConnections>!
    private let left: TCPStream
    private let right: TCPStream
    private let partners: [(Neighbour, TCPStream)]
    private let leftNeighbour: Neighbour
    private let rightNeighbour: Neighbour
    private let completedThrough: (UInt64) -> Void
    private let failed: (CollectiveError) -> Void
    private var hasEnded = false

    /// Headers arrive here, and with them the beginning of their payload: a small message costs one read.
    private let inbox = UnsafeMutableRawBufferPointer.allocate(byteCount: RingConnections.inboxBytes, alignment: 64)
    private var inboxStart = 0
    private var inboxEnd = 0
    /// The rest of the payload that is arriving; empty while a header is awaited.
    private var payload = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private static let inboxBytes = FrameHeader.byteCount + 1024

    private var watch: Timer?
    private let timeout: Duration
    private var lastSeen: (bytes: UInt64, at: ContinuousClock.Instant) = (0, .now)

    init(
        left: TCPStream, right: TCPStream, partners: [(Neighbour, TCPStream)], leftNeighbour: Neighbour,
        rightNeighbour: Neighbour, rank: Int, worldSize: Int, generation: UInt32, timeout: Duration, completedThrough: @escaping (UInt64) -> Void,
        failed: @escaping (CollectiveError) -> Void
    ) throws(LoopError) {
        self.left = left
        self.right = right
        self.partners = partners
        self.leftNeighbour = leftNeighbour
        self.rightNeighbour = rightNeighbour
        self.timeout = timeout
        self.completedThrough = completedThrough
        self.failed = failed
        ring = RingProtocol(rank: rank, worldSize: worldSize, generation: generation, link: self)
        let watch = try Timer(loop: left.loop) { [weak self] in self?.lookForProgress() }
        watch.start(every: min(timeout / 8, .seconds(1)))
        self.watch = watch
        left.receiver = self
        right.receiver = self
        left.startReading()
        // The right neighbour sends nothing; reading from it is how its end is noticed while nothing is sent to it.
        right.startReading()
    }

    deinit {
        inbox.deallocate()
        scrap.deallocate()
    }

    func submit(_ operation: RingProtocol<RingConnections>.Operation) {
        guard !hasEnded else { return }
        if !ring.isBusy { lastSeen.at = .now }
        attempt { () throws(CollectiveError) in try ring.submit(operation) }
    }

    /// Closes both connections; operations under way never end.
    func close() {
        guard !hasEnded else { return }
        hasEnded = true
        watch?.close()
        left.close()
        right.close()
        for (_, stream) in partners { stream.close() }
    }

    // MARK: RingLink

    func send(header: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, token: Int) -> Bool {
        right.write(header: header, body: body, token: UInt64(token)) == .done
    }

    func resume() {
        guard !hasEnded else { return }
        attempt { () throws(CollectiveError) in try takeInbox() }
        if !hasEnded, !isPaused { left.startReading() }
    }

    func completed(through sequence: UInt64) {
        completedThrough(sequence)
    }

    // MARK: StreamReceiver

    func nextBuffer(_ stream: TCPStream) -> UnsafeMutableRawBufferPointer {
        if stream === right { return scrap }
        if !payload.isEmpty { return payload }
        return UnsafeMutableRawBufferPointer(rebasing: inbox[inboxEnd...])
    }

    func received(_ stream: TCPStream, count: Int) {
        guard !hasEnded else { return }
        guard stream === left else {
            return fail(.protocolViolation(rank: rightNeighbour.rank, fault: "\(count) bytes against the ring's direction"))
        }
        if payload.isEmpty {
            inboxEnd += count
        } else {
            payload = UnsafeMutableRawBufferPointer(rebasing: payload[count...])
            guard payload.isEmpty else { return }
            attempt { () throws(CollectiveError) in try ring.landed() }
        }
        attempt { () throws(CollectiveError) in try takeInbox() }
    }

    func ended(_ stream: TCPStream, error: LoopError?) {
        let neighbour = stream === left ? leftNeighbour : rightNeighbour
        lose(neighbour, error?.description ?? "its process ended or closed the connection")
    }

    func wrote(_ stream: TCPStream, token: UInt64, error: LoopError?) {
        guard !hasEnded else { return }
        if let error { return lose(rightNeighbour, error.description) }
        attempt { () throws(CollectiveError) in try ring.wrote(token: Int(token)) }
    }

    // MARK: Receiving

    private var isPaused = false
    /// Where unexpected bytes from the right land.
    private let scrap = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 8)

    /// Takes headers, and what came with them, until the inbox is used up, a payload is incomplete or the ring cannot take more.
    private func takeInbox() throws(CollectiveError) {
        isPaused = false
        while payload.isEmpty, inboxEnd - inboxStart >= FrameHeader.byteCount {
            let header = try decodeHeader()
            guard inboxEnd - inboxStart >= header.headBytes else { break }
            switch try ring.landing(for: header) {
            case .pause:
                isPaused = true
                left.stopReading()
                return
            case .at(let memory):
                inboxStart += header.headBytes
                let here = min(inboxEnd - inboxStart, memory.count)
                memory.copyMemory(from: UnsafeRawBufferPointer(rebasing: inbox[inboxStart..<(inboxStart + here)]))
                inboxStart += here
                payload = UnsafeMutableRawBufferPointer(rebasing: memory[here...])
                if payload.isEmpty { try ring.landed() }
            }
        }
        keepRest()
    }

    /// Moves an incomplete header to the front, where the next read continues it.
    private func keepRest() {
        let rest = inboxEnd - inboxStart
        if rest > 0, inboxStart > 0 {
            inbox.copyMemory(from: UnsafeRawBufferPointer(rebasing: inbox[inboxStart..<inboxEnd]))
        }
        inboxStart = 0
        inboxEnd = rest
    }

    private func decodeHeader() throws(CollectiveError) -> FrameHeader {
        do throws(WireError) {
            // SAFETY: the caller checked that a whole header stands at inboxStart.
            return try FrameHeader(
                decoding: inbox.baseAddress! + inboxStart, generation: ring.generation, payloadLimit: ring.slotBytes)
        } catch {
            throw .protocolViolation(rank: leftNeighbour.rank, fault: error.description)
        }
    }

    // MARK: Failing

    private func attempt(_ body: () throws(CollectiveError) -> Void) {
        guard !hasEnded else { return }
        do throws(CollectiveError) {
            try body()
        } catch {
            fail(error)
        }
    }

    private func lose(_ neighbour: Neighbour, _ cause: String) {
        fail(
            .peerLost(
                rank: neighbour.rank, host: neighbour.host, operation: ring.completed,
                bytesMoved: ring.bytesReceived + ring.bytesSent, cause: cause))
    }

    private func fail(_ error: CollectiveError) {
        guard !hasEnded else { return }
        close()
        failed(error)
    }

    private func lookForProgress() {
        let bytes = ring.bytesReceived + ring.bytesSent
        let now = ContinuousClock.now
        guard ring.isBusy, bytes == lastSeen.bytes else {
            lastSeen = (bytes, now)
            return
        }
        guard now - lastSeen.at >= timeout, !hasEnded else { return }
        // The connections stay open: who waits for this rank must not take it for the one that holds everybody up.
        watch?.stop()
        failed(
            .noProgress(
                rank: ring.rank, waitingFor: leftNeighbour.rank, host: leftNeighbour.host, operation: ring.completed,
                bytesMoved: bytes, limit: now - lastSeen.at))
    }
}
