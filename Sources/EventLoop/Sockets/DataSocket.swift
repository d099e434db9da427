import CLibuv
import Glibc

/// Whom a `DataSocket` tells that there may be something to do.
package protocol DataSocketOwner: AnyObject {
    /// Bytes can be received, or an end or an error is to be found by receiving.
    func mayReceive(_ socket: DataSocket)
    /// Bytes can be sent again.
    func maySend(_ socket: DataSocket)
}

/// A connected socket that its owner reads and writes with system calls of its own, whenever it likes; the loop only says when to try
/// again (`uv_poll_t`).
///
/// `TCPStream` is for conversations. This is for bytes of which many have known places: one call fills several pieces of memory, a call
/// that could only find nothing is not made, and a thread that drives the loop can look for bytes without the loop. Confined to the
/// loop's thread. Neither reading nor writing allocates. The owner is kept alive until the socket is closed.
package final class DataSocket: Handle {
    /// What came of a call.
    package enum Outcome: Equatable {
        /// So many bytes moved; at least one.
        case moved(Int)
        /// Nothing can be moved now.
        case notNow
        /// The peer ended its half properly. Only when receiving.
        case ended
        case failed(SystemCode)
    }

    package var owner: (any DataSocketOwner)?
    /// The other end's address, for messages.
    package let peerAddress: String
    private let descriptor: Int32
    private let poll: UnsafeMutablePointer<uv_poll_t>
    private var events: Int32 = 0

    /// Takes a connection over. The stream must have no writes under way; it is closed, and the connection lives on.
    package init(taking stream: TCPStream) throws(LoopError) {
        stream.loop.preconditionOnThread()
        precondition(!stream.isClosed && stream.bytesQueued == 0, "a stream is taken over when it has nothing left to write")
        peerAddress = stream.peerAddress
        var original: uv_os_fd_t = -1
        guard uv_fileno(stream.raw, &original) == 0 else {
            throw .system(operation: "uv_fileno", code: SystemCode(errno: EBADF))
        }
        // libuv's stream closes its own descriptor, so that this has one of its own.
        let descriptor = fcntl(original, F_DUPFD_CLOEXEC, 0)
        guard descriptor >= 0 else { throw .system(operation: "fcntl", code: SystemCode(errno: errno)) }
        self.descriptor = descriptor
        do throws(LoopError) {
            poll = try makeHandle("uv_poll_init") { uv_poll_init(stream.loop.raw, $0, descriptor) }
        } catch {
            Glibc.close(descriptor)
            throw error
        }
        super.init(loop: stream.loop, initialized: poll)
        stream.close()
    }

    /// How often in a row the kernel has sent again what the peer's kernel has not acknowledged (TCP_INFO). A process that does not read
    /// has a kernel that does acknowledge: where this grows, packets are lost on the way.
    package var retransmissions: Int { Int(lockstep_retransmissions(descriptor)) }

    // MARK: When to try again

    /// Whether the owner is to be told when bytes can be received.
    package var awaitsReceiving: Bool {
        get { events & Int32(UV_READABLE.rawValue) != 0 }
        set { setEvent(Int32(UV_READABLE.rawValue), newValue) }
    }

    /// Whether the owner is to be told when bytes can be sent.
    package var awaitsSending: Bool {
        get { events & Int32(UV_WRITABLE.rawValue) != 0 }
        set { setEvent(Int32(UV_WRITABLE.rawValue), newValue) }
    }

    private func setEvent(_ event: Int32, _ isWanted: Bool) {
        let wanted = isWanted ? events | event : events & ~event
        guard wanted != events, !isClosed else { return }
        loop.preconditionOnThread()
        events = wanted
        let code = uv_poll_start(poll, wanted) { handle, status, events in
            let socket: DataSocket = Handle.of(handle!)
            socket.happened(status, events)
        }
        precondition(code == 0, "uv_poll_start on an open socket")
    }

    private func happened(_ status: Int32, _ happened: Int32) {
        loop.activity &+= 1
        // The kernel has an error for us, and libuv has stopped looking: the next call on the socket says which.
        if status < 0 { events = 0 }
        if status < 0 || happened & Int32(UV_READABLE.rawValue) != 0 { owner?.mayReceive(self) }
        if status < 0 || happened & Int32(UV_WRITABLE.rawValue) != 0, !isClosed { owner?.maySend(self) }
    }

    // MARK: Moving bytes

    /// Fills `first` and then `second`, of which either may be empty, as far as bytes are there.
    package func receive(
        into first: UnsafeMutableRawBufferPointer, _ second: UnsafeMutableRawBufferPointer
    ) -> Outcome {
        precondition(!isClosed && first.count + second.count > 0)
        // SAFETY: both pieces are the caller's, alive during the call.
        var pieces = (
            iovec(iov_base: first.baseAddress, iov_len: first.count), iovec(iov_base: second.baseAddress, iov_len: second.count)
        )
        let count = withUnsafePointer(to: &pieces) { pair in
            pair.withMemoryRebound(to: iovec.self, capacity: 2) { vector in
                repeatingInterrupted {
                    if first.isEmpty { return recv(descriptor, second.baseAddress, second.count, 0) }
                    return readv(descriptor, vector, second.isEmpty ? 1 : 2)
                }
            }
        }
        return count == 0 ? .ended : outcome(count)
    }

    /// Sends pieces of memory one after the other, as far as the kernel takes them.
    package func send(_ pieces: UnsafeMutableBufferPointer<iovec>) -> Outcome {
        precondition(!isClosed && !pieces.isEmpty)
        var message = msghdr()
        message.msg_iov = pieces.baseAddress
        message.msg_iovlen = pieces.count
        return outcome(repeatingInterrupted { sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL)) })
    }

    private func repeatingInterrupted(_ call: () -> Int) -> Int {
        while true {
            let count = call()
            if count >= 0 || errno != EINTR { return count }
        }
    }

    private func outcome(_ count: Int) -> Outcome {
        if count >= 0 { return .moved(count) }
        return errno == EAGAIN || errno == EWOULDBLOCK ? .notNow : .failed(SystemCode(errno: errno))
    }

    override func didClose() {
        owner = nil
        Glibc.close(descriptor)
    }
}
