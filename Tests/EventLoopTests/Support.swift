import EventLoop
import Testing

/// What is waited for comes in far less, however busy the machine is.
let generousLimit = Duration.seconds(120)

/// Runs `body` on a loop owned by the calling thread, then the loop until it is stopped, then closes it.
///
/// A test that does not stop its loop within `limit` fails instead of hanging.
func withLoop(limit: Duration = generousLimit, _ body: (Loop) throws -> Void) throws {
    let loop = try Loop()
    defer { loop.close() }
    let watchdog = try Timer(loop: loop) {
        Issue.record("the loop was not stopped within \(limit)")
        loop.stop()
    }
    watchdog.start(after: limit)
    try body(loop)
    loop.run()
    watchdog.close()
}

/// Listens on a free loopback port, connects to it, and hands over both ends once both are there.
func withPair(
    _ loop: Loop, host: String = "127.0.0.1", options: StreamOptions = StreamOptions(),
    _ body: @escaping (_ client: TCPStream, _ server: TCPStream) -> Void
) throws {
    var client: TCPStream?
    var server: TCPStream?
    weak var listening: TCPListener?
    func meet() {
        guard let client, let server else { return }
        listening?.close()
        body(client, server)
    }
    let listener = try TCPListener(loop: loop, host: host, port: 0, options: options) { result in
        server = try? result.get()
        meet()
    }
    listening = listener
    try Connector(loop: loop, host: host, port: listener.address.port, options: options) { result in
        client = try? result.get()
        meet()
    }
}

/// Memory that stays where it is for as long as the object lives.
final class Memory {
    let bytes: UnsafeMutableRawBufferPointer

    init(_ contents: [UInt8]) {
        bytes = .allocate(byteCount: contents.count, alignment: 64)
        bytes.copyBytes(from: contents)
    }

    convenience init(count: Int) {
        self.init(Array(repeating: 0, count: count))
    }

    deinit { bytes.deallocate() }

    var contents: [UInt8] { Array(bytes) }
    var readOnly: UnsafeRawBufferPointer { UnsafeRawBufferPointer(bytes) }
}

/// Fills one piece of memory from its start, counts what was written, and keeps what ended the stream.
final class Collector: StreamReceiver {
    let memory: Memory
    private(set) var filled = 0
    private(set) var ends: [LoopError?] = []
    private(set) var writes: [(token: UInt64, error: LoopError?)] = []
    var onReceived: () -> Void = {}
    var onEnded: () -> Void = {}
    var onWrote: () -> Void = {}

    init(count: Int) {
        memory = Memory(count: max(count, 1))
    }

    func nextBuffer(_ stream: TCPStream) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: memory.bytes[filled...])
    }

    func received(_ stream: TCPStream, count: Int) {
        filled += count
        // When all has come, only the end can follow, and that needs room for no byte; libuv still asks for some.
        if filled == memory.bytes.count { stream.stopReading() }
        onReceived()
    }

    func ended(_ stream: TCPStream, error: LoopError?) {
        ends.append(error)
        onEnded()
    }

    func wrote(_ stream: TCPStream, token: UInt64, error: LoopError?) {
        writes.append((token, error))
        onWrote()
    }
}

/// Bytes that differ from their neighbours and from one place to another, so that a shift or a gap shows.
func patternBytes(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ ($0 >> 8) &* 7 &+ 1) }
}
