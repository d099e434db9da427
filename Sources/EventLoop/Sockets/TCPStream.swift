import CLibuv

/// A connected TCP socket (`uv_tcp_t`) that reads straight into place and writes straight from the caller's memory.
///
/// Made by a `TCPListener` or a `Connector`. In steady state neither reading nor writing allocates. Confined to the loop's
/// thread. The receiver is kept alive until the stream is closed.
package final class TCPStream: Handle {
    /// What a write came to by the time the call returned.
    package enum WriteOutcome {
        /// The kernel has taken every byte: the memory is free again, and `wrote` will not be called.
        case done
        /// Bytes are left: the memory must stay as it is until `wrote` is called with the token.
        case pending
    }

    /// Where bytes go to and come from. Set before `startReading` and before the first write.
    package var receiver: (any StreamReceiver)? {
        didSet { loop.preconditionOnThread() }
    }

    /// This end's and the other end's address; `?` when the connection was already gone when they were asked for.
    package private(set) var localAddress = "?"
    package private(set) var peerAddress = "?"
    /// The same without the ports: where this host can be reached from the peer's network, and the peer from this one.
    package private(set) var localHost = "?"
    package private(set) var peerHost = "?"
    /// Whether the peer is on another host: it has another address than this end, and not one that leads to this host.
    package private(set) var isFromElsewhere = false

    /// True between `startReading` and `stopReading`, an end or an error.
    package private(set) var isReading = false

    let tcp: UnsafeMutablePointer<uv_tcp_t>
    private let stream: UnsafeMutablePointer<uv_stream_t>
    private var freeRequests: WriteRequestPool
    private var resetsOnClose = false

    /// An unconnected socket.
    init(loop: Loop) throws(LoopError) {
        tcp = try makeHandle("uv_tcp_init") { uv_tcp_init(loop.raw, $0) }
        // SAFETY: uv_tcp_t begins with uv_stream_t; this is libuv's documented cast.
        stream = UnsafeMutableRawPointer(tcp).assumingMemoryBound(to: uv_stream_t.self)
        freeRequests = WriteRequestPool()
        super.init(loop: loop, initialized: tcp)
    }

    /// Starts connecting; `completion` runs once, later, with code 0 when connected, or `canceled` when closed before.
    func connect(to address: SocketAddress, completion: @escaping (SystemCode) -> Void) throws(LoopError) {
        let request = UnsafeMutablePointer<uv_connect_t>.allocate(capacity: 1)
        let box = ConnectBox(completion)
        request.pointee.data = Unmanaged.passRetained(box).toOpaque()
        let code = address.withPointer { address in
            uv_tcp_connect(request, tcp, address) { request, code in
                // SAFETY: balances the passRetained above; libuv calls this once for each accepted request.
                let box = Unmanaged<ConnectBox>.fromOpaque(request!.pointee.data).takeRetainedValue()
                request!.deallocate()
                box.completion(SystemCode(code))
            }
        }
        guard code != 0 else { return }
        Unmanaged.passUnretained(box).release()
        request.deallocate()
        throw .connect(address: address.description, code: SystemCode(code))
    }

    private final class ConnectBox {
        let completion: (SystemCode) -> Void

        init(_ completion: @escaping (SystemCode) -> Void) {
            self.completion = completion
        }
    }

    /// To be called once connected: sets the options and remembers the addresses.
    func opened(_ options: StreamOptions) {
        // A peer that is already gone makes these fail; the first read then says so, better than an error here could.
        if options.noDelay { uv_tcp_nodelay(tcp, 1) }
        if let seconds = options.keepAliveSeconds { uv_tcp_keepalive(tcp, 1, seconds) }
        var descriptor: uv_os_fd_t = -1
        if uv_fileno(raw, &descriptor) == 0 {
            if let probes = options.keepAliveProbes { lockstep_keepalive_probes(descriptor, Int32(clamping: probes)) }
            if let limit = options.unacknowledgedLimit {
                lockstep_unacknowledged_limit(descriptor, UInt32(clamping: limit.millisecondsRoundedUp))
            }
        }
        if var bytes = options.sendBufferBytes { uv_send_buffer_size(raw, &bytes) }
        if var bytes = options.receiveBufferBytes { uv_recv_buffer_size(raw, &bytes) }
        let local = SocketAddress { uv_tcp_getsockname(tcp, $0, $1) }
        localAddress = local?.description ?? "?"
        localHost = local?.host ?? "?"
        let peer = SocketAddress { uv_tcp_getpeername(tcp, $0, $1) }
        peerAddress = peer?.description ?? "?"
        peerHost = peer?.host ?? "?"
        isFromElsewhere = peer.map { !$0.isLoopback && $0.host != localHost } ?? false
    }

    // MARK: Reading

    /// Starts (or goes on) asking the receiver for memory and filling it. Harmless when already reading.
    package func startReading() {
        loop.preconditionOnThread()
        precondition(receiver != nil && !isClosed, "reading needs a receiver and an open stream")
        guard !isReading else { return }
        isReading = true
        let code = uv_read_start(
            stream,
            { handle, _, buffer in
                let stream: TCPStream = Handle.of(handle!)
                let memory = stream.receiver!.nextBuffer(stream)
                precondition(!memory.isEmpty, "nextBuffer must name at least one byte")
                buffer!.pointee.base = memory.baseAddress!.assumingMemoryBound(to: CChar.self)
                buffer!.pointee.len = memory.count
            },
            { handle, count, _ in
                let stream: TCPStream = Handle.of(handle!)
                stream.didRead(count)
            })
        precondition(code == 0, "uv_read_start on a stream that is not connected")
    }

    /// Stops reading at once, so that the kernel's buffers fill and the peer has to wait. Nothing is lost: bytes that have not
    /// been delivered stay in the kernel. Harmless when not reading.
    package func stopReading() {
        loop.preconditionOnThread()
        guard isReading else { return }
        isReading = false
        uv_read_stop(stream)
    }

    private func didRead(_ count: Int) {
        // 0 is "try again later", and no event.
        guard count != 0, let receiver else { return }
        loop.activity &+= 1
        if count > 0 { return receiver.received(self, count: count) }
        stopReading()
        let code = SystemCode(Int32(count))
        receiver.ended(self, error: code.isEndOfFile ? nil : .read(peer: peerAddress, code: code))
    }

    // MARK: Writing

    /// Writes `header`, if any, and `body`, in one system call where the kernel takes them at once.
    ///
    /// Writes leave in the order of the calls. Both pieces of memory are the caller's and must stay as they are until the write
    /// is over: that is on return for `done`, and at `wrote(token)` for `pending`. Errors always come through `wrote`.
    package func write(
        header: UnsafeRawBufferPointer? = nil, body: UnsafeRawBufferPointer, token: UInt64
    ) -> WriteOutcome {
        loop.preconditionOnThread()
        precondition(!isClosed, "write on a closed stream")
        var buffers = GatherBuffers(header: header, body: body)
        // Tried at once: a write that fits the kernel's buffer is over here, without a pass through the loop.
        if uv_stream_get_write_queue_size(stream) == 0 {
            let count = buffers.withPointer { uv_try_write(stream, $0, $1) }
            if count >= 0 {
                buffers.drop(Int(count))
                if buffers.isEmpty { return .done }
            }
            // Any error will come again from uv_write, which reports it in the one place where errors are reported.
        }
        let request = freeRequests.take()
        // SAFETY: the token travels in `data` as a number; it is never used as an address.
        request.pointee.data = UnsafeMutableRawPointer(bitPattern: UInt(token))
        let code = buffers.withPointer { pointer, count in
            uv_write(request, stream, pointer, count) { request, code in
                let request = request!
                let stream: TCPStream = Handle.of(request.pointee.handle!)
                stream.didWrite(request, code)
            }
        }
        precondition(code == 0, "write after shutdown, or on a socket that was never connected")
        return .pending
    }

    private func didWrite(_ request: UnsafeMutablePointer<uv_write_t>, _ code: Int32) {
        let token = UInt64(UInt(bitPattern: request.pointee.data))
        freeRequests.give(request)
        loop.activity &+= 1
        let error: LoopError? = code == 0 ? nil : .write(peer: peerAddress, code: SystemCode(code))
        receiver?.wrote(self, token: token, error: error)
    }

    /// Bytes that were given to `write` and that the kernel has not taken yet.
    package var bytesQueued: Int { Int(uv_stream_get_write_queue_size(stream)) }

    /// Ends this end's half of the connection once all writes are out (`uv_shutdown`): the peer reads the end, and may still
    /// send. `completion` runs when that is done, with the error if it could not be. Nothing may be written after.
    package func shutdown(_ completion: @escaping (LoopError?) -> Void = { _ in }) {
        loop.preconditionOnThread()
        precondition(!isClosed, "shutdown on a closed stream")
        let request = UnsafeMutablePointer<uv_shutdown_t>.allocate(capacity: 1)
        let box = ShutdownBox(stream: self, completion: completion)
        request.pointee.data = Unmanaged.passRetained(box).toOpaque()
        let code = uv_shutdown(request, stream) { request, code in
            // SAFETY: balances the passRetained above; libuv calls this once for each accepted request.
            let box = Unmanaged<ShutdownBox>.fromOpaque(request!.pointee.data).takeRetainedValue()
            request!.deallocate()
            box.completion(code == 0 ? nil : .write(peer: box.stream.peerAddress, code: SystemCode(code)))
        }
        guard code != 0 else { return }
        Unmanaged.passUnretained(box).release()
        request.deallocate()
        completion(.write(peer: peerAddress, code: SystemCode(code)))
    }

    private final class ShutdownBox {
        let stream: TCPStream
        let completion: (LoopError?) -> Void

        init(stream: TCPStream, completion: @escaping (LoopError?) -> Void) {
            self.stream = stream
            self.completion = completion
        }
    }

    // MARK: Closing

    /// Closes with a reset instead of an orderly end: the peer's next read fails, and unsent bytes are dropped. For peers that
    /// have been told to leave, and for tests.
    package func reset() {
        loop.preconditionOnThread()
        resetsOnClose = true
        close()
    }

    override func beginClosing(_ callback: @escaping uv_close_cb) {
        // libuv refuses a reset after a shutdown; an orderly end is then what the peer gets.
        if resetsOnClose && uv_tcp_close_reset(tcp, callback) == 0 { return }
        super.beginClosing(callback)
    }

    override func willClose() {
        isReading = false
    }

    override func didClose() {
        receiver = nil
        freeRequests.deallocate()
    }
}
