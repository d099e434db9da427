import EventLoop
import Wire

/// Drives a `Wire.Handshake` over a fresh stream.
///
/// Reads no byte beyond the handshake, so that the stream can be given to its user when it ends. Owns the stream until
/// then; confined to the loop's thread; keeps itself alive through the stream.
package final class HandshakeRunner: StreamReceiver {
    package enum Failure: Error, CustomStringConvertible {
        /// `claim`: what a caller says that it is, without a proof.
        case wire(WireError, claim: Introduction?)
        case connection(LoopError)
        case ended
        case timedOut

        package var description: String {
            switch self {
            case .wire(let error, _): error.description
            case .connection(let error): error.description
            case .ended:
                "the peer closed the connection during the handshake: it is of another job, has another secret (LOCKSTEP_SECRET), "
                    + "is another build of Lockstep, or has run out of open files"
            case .timedOut: "the handshake was not finished in time"
            }
        }
    }

    private let stream: TCPStream
    private var handshake: Handshake
    private var timer: Timer
    private var completion: ((Result<Introduction, Failure>) -> Void)?
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256, alignment: 8)
    /// The message that is being sent: one at a time, since each is answered before the next.
    private var outgoing: UnsafeMutableRawBufferPointer?
    private var peer: Introduction?

    /// A stranger may hold a connection open this long before it is closed.
    package static let timeLimit = Duration.seconds(10)

    /// Starts at once. After success the stream is the caller's, not reading, its receiver to be set; after a failure
    /// it is closed.
    package init(
        stream: TCPStream, handshake: consuming Handshake, completion: @escaping (Result<Introduction, Failure>) -> Void
    ) throws(LoopError) {
        self.stream = stream
        let hello = handshake.hello
        self.handshake = handshake
        self.completion = completion
        weak var runner: HandshakeRunner?
        timer = try Timer(loop: stream.loop) { runner?.finish(.failure(.timedOut)) }
        runner = self
        timer.start(after: HandshakeRunner.timeLimit)
        stream.receiver = self
        if !hello.isEmpty { send(hello) }
        stream.startReading()
    }

    deinit {
        buffer.deallocate()
    }

    package func nextBuffer(_ stream: TCPStream) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(max(1, min(handshake.bytesWanted, buffer.count))))
    }

    package func received(_ stream: TCPStream, count: Int) {
        switch handshake.receive(Array(buffer.prefix(count))) {
        case .wait:
            break
        case .send(let bytes):
            send(bytes)
        case .established(let introduction, let bytes, _):
            stream.stopReading()
            peer = introduction
            if bytes.isEmpty || send(bytes) { finish(.success(introduction)) }
        case .fail(let error):
            finish(.failure(.wire(error, claim: handshake.claim)))
        }
    }

    package func ended(_ stream: TCPStream, error: LoopError?) {
        finish(.failure(error.map { .connection($0) } ?? .ended))
    }

    package func wrote(_ stream: TCPStream, token: UInt64, error: LoopError?) {
        releaseOutgoing()
        if let error { return finish(.failure(.connection(error))) }
        if let peer { finish(.success(peer)) }
    }

    /// True if the bytes have left already.
    @discardableResult
    private func send(_ bytes: [UInt8]) -> Bool {
        // SAFETY: freed on `done`, or when `wrote` says that the stream is done with it.
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        memory.copyBytes(from: bytes)
        outgoing = memory
        switch stream.write(body: UnsafeRawBufferPointer(memory), token: 0) {
        case .done:
            releaseOutgoing()
            return true
        case .pending:
            return false
        }
    }

    private func releaseOutgoing() {
        outgoing?.deallocate()
        outgoing = nil
    }

    private func finish(_ result: Result<Introduction, Failure>) {
        guard let completion else { return }
        self.completion = nil
        timer.close()
        stream.stopReading()
        if case .failure = result { stream.close() }
        completion(result)
    }
}
