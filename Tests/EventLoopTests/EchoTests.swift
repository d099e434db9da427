import EventLoop
import Testing

/// Sends every byte it reads straight back from the memory it was read into.
private final class Echo: StreamReceiver {
    private let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 100_000, alignment: 64)

    deinit { memory.deallocate() }

    func nextBuffer(_ stream: TCPStream) -> UnsafeMutableRawBufferPointer { memory }

    func received(_ stream: TCPStream, count: Int) {
        if stream.write(body: UnsafeRawBufferPointer(rebasing: memory[..<count]), token: UInt64(count)) == .pending {
            stream.stopReading()
        }
    }

    func ended(_ stream: TCPStream, error: LoopError?) {
        #expect(error == nil)
        stream.close()
    }

    func wrote(_ stream: TCPStream, token: UInt64, error: LoopError?) {
        #expect(error == nil)
        stream.startReading()
    }
}

/// Sends a header and a body, and reads as many bytes back into one place.
private final class Asker: StreamReceiver {
    let header: [UInt8]
    let body: [UInt8]
    var answer: [UInt8]
    var filled = 0
    var isDone: () -> Void = {}

    init(header: [UInt8], body: [UInt8]) {
        self.header = header
        self.body = body
        answer = Array(repeating: 0, count: header.count + body.count + 1)
    }

    func ask(_ stream: TCPStream) {
        header.withUnsafeBytes { header in
            body.withUnsafeBytes { body in
                _ = stream.write(header: header.isEmpty ? nil : header, body: body, token: 7)
            }
        }
        if filled == header.count + body.count { isDone() }
    }

    func nextBuffer(_ stream: TCPStream) -> UnsafeMutableRawBufferPointer {
        answer.withUnsafeMutableBytes { UnsafeMutableRawBufferPointer(rebasing: $0[filled...]) }
    }

    func received(_ stream: TCPStream, count: Int) {
        filled += count
        if filled == header.count + body.count { isDone() }
    }

    func ended(_ stream: TCPStream, error: LoopError?) { Issue.record("ended: \(String(describing: error))") }

    func wrote(_ stream: TCPStream, token: UInt64, error: LoopError?) {
        #expect(token == 7 && error == nil)
    }
}

@Test(
    arguments: [
        (0, 0), (0, 1), (1, 0), (16, 1), (16, 4095), (16, 4096), (16, 4097), (0, 100_000), (16, 1_000_003), (16, 8 << 20),
    ], ["127.0.0.1", "::1", "localhost"])
func everyByteComesBackInPlace(sizes: (header: Int, body: Int), host: String) throws {
    let asker = Asker(header: patternBytes(sizes.header), body: patternBytes(sizes.body).reversed())
    try withLoop { loop in
        try withPair(loop, host: host == "localhost" ? "127.0.0.1" : host) { client, server in
            server.receiver = Echo()
            server.startReading()
            client.receiver = asker
            asker.isDone = {
                #expect(client.bytesQueued == 0)
                loop.stop()
            }
            client.startReading()
            asker.ask(client)
        }
    }
    #expect(asker.answer.dropLast() == (asker.header + asker.body)[...])
    #expect(asker.answer.last == 0)
}
