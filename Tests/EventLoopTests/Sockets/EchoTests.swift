import EventLoop
import Testing

/// Sends every byte it reads straight back from the memory it was read into.
private final class Echo: StreamReceiver {
    private let memory = Memory(count: 100_000)

    func nextBuffer(_ stream: TCPStream) -> UnsafeMutableRawBufferPointer { memory.bytes }

    func received(_ stream: TCPStream, count: Int) {
        let answer = UnsafeRawBufferPointer(rebasing: memory.readOnly[..<count])
        if stream.write(body: answer, token: UInt64(count)) == .pending { stream.stopReading() }
    }

    func ended(_ stream: TCPStream, error: LoopError?) { Issue.record("ended: \(String(describing: error))") }

    func wrote(_ stream: TCPStream, token: UInt64, error: LoopError?) {
        #expect(error == nil)
        stream.startReading()
    }
}

@Test(
    arguments: [
        (0, 0), (0, 1), (1, 0), (16, 1), (16, 4095), (16, 4096), (16, 4097), (0, 100_000), (16, 1_000_003), (16, 8 << 20),
    ], ["127.0.0.1", "::1"])
func everyByteComesBackInPlace(sizes: (header: Int, body: Int), host: String) throws {
    let header = Memory(patternBytes(sizes.header))
    let body = Memory(patternBytes(sizes.body).reversed())
    let total = sizes.header + sizes.body
    let collector = Collector(count: total + 1)
    var outcome: TCPStream.WriteOutcome?
    try withLoop { loop in
        try withPair(loop, host: host) { client, server in
            server.receiver = Echo()
            server.startReading()
            client.receiver = collector
            client.startReading()
            func finish() {
                guard collector.filled == total, outcome == .done || collector.writes.count == 1 else { return }
                #expect(client.bytesQueued == 0)
                loop.stop()
            }
            collector.onReceived = finish
            collector.onWrote = finish
            outcome = client.write(header: sizes.header == 0 ? nil : header.readOnly, body: body.readOnly, token: 7)
            finish()
        }
    }
    #expect(collector.memory.contents == header.contents + body.contents + [0])
    #expect(collector.writes.allSatisfy { $0.token == 7 && $0.error == nil })
    #expect(collector.ends.isEmpty)
}

@Test func writesLeaveInTheOrderOfTheCalls() throws {
    // Far more than the socket takes at once, so that most of these are pending together, small between large.
    let pieces = (0..<40).map { Memory(Array(repeating: UInt8($0 + 1), count: $0 % 2 == 0 ? 300_000 : 3)) }
    let total = pieces.reduce(0) { $0 + $1.bytes.count }
    let collector = Collector(count: total)
    let sender = Collector(count: 1)
    var pending: [UInt64] = []
    try withLoop { loop in
        try withPair(loop) { client, server in
            client.receiver = sender
            for (index, piece) in pieces.enumerated() {
                if client.write(body: piece.readOnly, token: UInt64(index)) == .pending { pending.append(UInt64(index)) }
            }
            #expect(client.bytesQueued > 0)
            server.receiver = collector
            server.startReading()
            collector.onReceived = { if collector.filled == total { loop.stop() } }
        }
    }
    #expect(collector.memory.contents == pieces.flatMap(\.contents))
    #expect(!pending.isEmpty && sender.writes.map(\.token) == pending)
}
