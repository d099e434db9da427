import EventLoop
import Wire

/// A control connection after its handshake: whole messages in, whole messages out.
///
/// Owns the stream. Confined to the loop's thread.
package final class ControlChannel: StreamReceiver {
    private let stream: TCPStream
    private let received: (ControlChannel, ControlMessage) -> Void
    private let ended: (ControlChannel, String) -> Void
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 16 << 10, alignment: 8)
    private var pending: [UInt8] = []
    private var unsent: [UInt64: UnsafeMutableRawBufferPointer] = [:]
    private var nextToken: UInt64 = 0
    private var hasEnded = false
    /// Why nothing more can be sent; what the peer has said may still be there to be read.
    private var sendFault: String?
    /// Set by `close`: everything sent is to arrive first.
    private var isClosing = false
    private var farewell: Timer?
    private var closed: () -> Void = {}

    /// How long a peer that has been told to go may take to close its end.
    private static let farewellTime = Duration.seconds(2)

    /// `received` runs for each message; `ended` once, when the connection ends by the peer's doing or by a fault, with
    /// the cause.
    package init(
        stream: TCPStream, received: @escaping (ControlChannel, ControlMessage) -> Void,
        ended: @escaping (ControlChannel, String) -> Void
    ) {
        self.stream = stream
        self.received = received
        self.ended = ended
        stream.receiver = self
        stream.startReading()
    }

    deinit {
        buffer.deallocate()
        for memory in unsent.values { memory.deallocate() }
    }

    package func send(_ message: ControlMessage) {
        guard !hasEnded, !isClosing, sendFault == nil else { return }
        let bytes = message.encoded
        // SAFETY: freed on `done`, in `wrote`, or in deinit, which cannot run before the stream is closed, since it
        // holds its receiver.
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        memory.copyBytes(from: bytes)
        nextToken += 1
        switch stream.write(body: UnsafeRawBufferPointer(memory), token: nextToken) {
        case .done: memory.deallocate()
        case .pending: unsent[nextToken] = memory
        }
    }

    /// Ends the connection once everything sent has arrived, as far as that can be known: this end says that it is
    /// done, and waits a little for the peer to close, reading what still comes. If it closed with bytes unread, the
    /// kernel would send a reset, and the peer might never see the last message. `ended` will not be called; `closed`
    /// is, when the connection is gone.
    package func close(_ closed: @escaping () -> Void = {}) {
        guard !hasEnded, !isClosing else { return closed() }
        isClosing = true
        self.closed = closed
        guard let timer = try? Timer(loop: stream.loop, fired: { [weak self] in self?.endNow() }), sendFault == nil
        else { return endNow() }
        farewell = timer
        timer.start(after: ControlChannel.farewellTime)
        stream.shutdown()
    }

    package func nextBuffer(_ stream: TCPStream) -> UnsafeMutableRawBufferPointer { buffer }

    package func received(_ stream: TCPStream, count: Int) {
        guard !isClosing else { return }
        pending.append(contentsOf: buffer.prefix(count))
        while !hasEnded, !isClosing, pending.count >= 4 {
            let length = Int(pending[0]) | Int(pending[1]) << 8 | Int(pending[2]) << 16 | Int(pending[3]) << 24
            guard length <= ControlMessage.longestBody else {
                return fail(WireError.frameTooLong(bytes: length, limit: ControlMessage.longestBody).description)
            }
            guard pending.count >= 4 + length else { return }
            let body = Array(pending[4..<(4 + length)])
            pending.removeFirst(4 + length)
            do throws(WireError) {
                received(self, try ControlMessage(body: body))
            } catch {
                return fail(error.description)
            }
        }
    }

    package func ended(_ stream: TCPStream, error: LoopError?) {
        fail(sendFault ?? ControlChannel.cause(error))
    }

    /// A peer that is gone may have said why before: that is read first, and then the end.
    package func wrote(_ stream: TCPStream, token: UInt64, error: LoopError?) {
        unsent.removeValue(forKey: token)?.deallocate()
        guard let error, !hasEnded else { return }
        sendFault = sendFault ?? ControlChannel.cause(error)
        if !stream.isReading { fail(ControlChannel.cause(error)) }
    }

    /// The end of a conversation, for people. It is the same whether reading or writing has found it.
    private static func cause(_ error: LoopError?) -> String {
        guard let error, error.code != .brokenPipe else { return "its process ended or closed the connection" }
        return error.code == .connectionReset
            ? "its process ended, or the connection was reset on the way" : error.description
    }

    private func fail(_ cause: String) {
        guard !hasEnded else { return }
        let tell = !isClosing
        endNow()
        if tell { ended(self, cause) }
    }

    private func endNow() {
        guard !hasEnded else { return }
        hasEnded = true
        farewell?.close()
        stream.close()
        closed()
        closed = {}
    }
}
