import EventLoop
import Wire

/// A member at the other end of a connection, as errors name it.
struct Neighbour {
    var rank: Int
    var host: String
}

/// Whom a connection's frames are for.
protocol FrameReceiver: AnyObject {
    /// Says where the payload after a header belongs.
    func landing(_ connection: FrameConnection, for header: FrameHeader) throws(CollectiveError) -> Landing
    /// The payload of the last header that got a place has arrived there.
    func landed(_ connection: FrameConnection) throws(CollectiveError)
    /// A send that did not leave at once has left.
    func wrote(_ connection: FrameConnection, token: Int) throws(CollectiveError)
    /// Bytes that no correct peer sends, or the connection's end: it is of no more use.
    func failed(_ connection: FrameConnection, _ error: CollectiveError)
    /// - Parameter isSilent: nothing arrives at the peer's host, or comes from there, as far as this one's kernel can tell.
    func lost(_ connection: FrameConnection, cause: String, isSilent: Bool)
}

/// Frames in and out over one socket: bytes in straight to where they belong, bytes out straight from where they are.
///
/// One call receives the rest of a payload in its place and what follows, headers and short payloads with them, in the inbox: a frame
/// costs one call, and a call that would find nothing is not made. Owns the socket. Confined to the loop's thread.
final class FrameConnection: DataSocketOwner {
    let peer: Neighbour
    private unowned let receiver: any FrameReceiver
    private let socket: DataSocket
    private let generation: UInt32
    private let payloadLimit: Int
    private let inbox: UnsafeMutableRawBufferPointer
    private var inboxStart = 0
    private var inboxEnd = 0
    /// The rest of the payload that is arriving; empty while a header is awaited.
    private var payload = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private var isPaused = false
    private var isClosed = false
    private var outbox: FrameOutbox
    /// How often in a row the kernel has sent the same bytes again, and since when.
    private var resends: (count: Int, since: ContinuousClock.Instant) = (0, .now)

    /// Fewer may be a moment's loss.
    private static let resendsThatProve = 3
    /// So many calls are made for one connection before others have their turn.
    private static let callsAtOnce = 16

    /// `inboxBytes` are copied from where they were received, and have room for a header at least.
    init(
        _ socket: DataSocket, peer: Neighbour, generation: UInt32, payloadLimit: Int, inboxBytes: Int, sendsAtOnce: Int,
        receiver: any FrameReceiver
    ) {
        precondition(inboxBytes >= FrameHeader.longestHead)
        self.peer = peer
        self.receiver = receiver
        self.socket = socket
        self.generation = generation
        self.payloadLimit = payloadLimit
        // SAFETY: freed in deinit; the socket, which fills it, is closed and lets go of this object first.
        inbox = .allocate(byteCount: inboxBytes, alignment: 64)
        outbox = FrameOutbox(capacity: sendsAtOnce)
        socket.owner = self
        socket.awaitsReceiving = true
    }

    deinit {
        inbox.deallocate()
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        socket.close()
    }

    // MARK: Watching

    /// Looks whether what was sent arrives; to be called every second or so. Reports the peer lost where nothing has been acknowledged for
    /// `limit`, however often it was sent again.
    func watch(limit: Duration) {
        guard !isClosed else { return }
        let now = ContinuousClock.now
        let count = socket.retransmissions
        // Fewer than before: something has been acknowledged in between.
        if count == 0 || count < resends.count { resends.since = now }
        resends.count = count
        guard count >= FrameConnection.resendsThatProve, now - resends.since >= limit else { return }
        receiver.lost(
            self,
            cause: "nothing that was sent to \(socket.peerAddress) has arrived for \((now - resends.since).secondsText): packets are dropped "
                + "on the way, all or the large ones", isSilent: true)
    }

    // MARK: Sending

    /// Sends a header and a body. Says true if both have left already; else they stay where they are until `wrote(token)`, which
    /// is never called from within this call.
    func send(header: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, token: Int) -> Bool {
        guard !isClosed else { return false }
        let isFirst = outbox.isEmpty
        outbox.append(header: header, body: body, token: token)
        // A failure is found again, and told, by `maySend`.
        if isFirst, outbox.send(over: socket).isAll, outbox.takeSent() != nil { return true }
        socket.awaitsSending = true
        return false
    }

    func maySend(_ socket: DataSocket) {
        while !isClosed, !outbox.isEmpty {
            let (isAll, failure) = outbox.send(over: socket)
            if let failure { return receiver.lost(self, cause: failure.description, isSilent: failure.isSilence) }
            attempt { () throws(CollectiveError) in
                while let token = outbox.takeSent() { try receiver.wrote(self, token: token) }
            }
            if !isAll { break }
        }
        if !isClosed { socket.awaitsSending = !outbox.isEmpty }
    }

    // MARK: Receiving

    /// Reading may go on after `Landing.pause`.
    func resume() {
        guard !isClosed, isPaused else { return }
        attempt { () throws(CollectiveError) in try takeInbox() }
        if !isClosed, !isPaused { socket.awaitsReceiving = true }
    }

    func mayReceive(_ socket: DataSocket) {
        receive()
    }

    /// Receives what is there. Whether anything was.
    @discardableResult
    func receive() -> Bool {
        var isAny = false
        for _ in 0..<FrameConnection.callsAtOnce {
            guard !isClosed, !isPaused else { break }
            let room = UnsafeMutableRawBufferPointer(rebasing: inbox[inboxEnd...])
            let offered = payload.count + room.count
            switch socket.receive(into: payload, room) {
            case .moved(let count):
                isAny = true
                attempt { () throws(CollectiveError) in try take(count) }
                // The kernel had no more: the next call would find nothing.
                if count < offered { return true }
            case .notNow:
                return isAny
            case .ended:
                receiver.lost(self, cause: "its process ended or closed the connection", isSilent: false)
                return true
            case .failed(let code):
                receiver.lost(self, cause: code.description, isSilent: code.isSilence)
                return true
            }
        }
        return isAny
    }

    private func take(_ count: Int) throws(CollectiveError) {
        if !payload.isEmpty {
            let here = min(count, payload.count)
            payload = UnsafeMutableRawBufferPointer(rebasing: payload[here...])
            inboxEnd += count - here
            guard payload.isEmpty else { return }
            try receiver.landed(self)
        } else {
            inboxEnd += count
        }
        try takeInbox()
    }

    /// Takes headers, and what came with them, until the inbox is used up, a payload is incomplete or the receiver cannot take more.
    private func takeInbox() throws(CollectiveError) {
        isPaused = false
        while !isClosed, payload.isEmpty, inboxEnd - inboxStart >= FrameHeader.byteCount {
            let header = try decodeHeader()
            guard inboxEnd - inboxStart >= header.headBytes else { break }
            switch try receiver.landing(self, for: header) {
            case .pause:
                isPaused = true
                socket.awaitsReceiving = false
                return
            case .at(let memory):
                inboxStart += header.headBytes
                let here = min(inboxEnd - inboxStart, memory.count)
                memory.copyMemory(from: UnsafeRawBufferPointer(rebasing: inbox[inboxStart..<(inboxStart + here)]))
                inboxStart += here
                payload = UnsafeMutableRawBufferPointer(rebasing: memory[here...])
                if payload.isEmpty { try receiver.landed(self) }
            }
        }
        keepRest()
    }

    /// Moves an incomplete header to the front, where the next call continues it.
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
                decoding: inbox.baseAddress! + inboxStart, generation: generation, payloadLimit: payloadLimit)
        } catch {
            throw .protocolViolation(rank: peer.rank, fault: error.description)
        }
    }

    private func attempt(_ body: () throws(CollectiveError) -> Void) {
        do throws(CollectiveError) {
            try body()
        } catch {
            receiver.failed(self, error)
        }
    }
}
