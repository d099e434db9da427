import EventLoop
import Testing

@Test func aReaderThatStopsMakesTheWriterWaitAndLosesNothing() throws {
    let total = 32 << 20
    let body = Memory(patternBytes(total))
    let collector = Collector(count: total)
    let sender = Collector(count: 1)
    var filledAtStop = 0
    var look: () -> Void = {}
    try withLoop { loop in
        let timer = try Timer(loop: loop) { look() }
        try withPair(loop, options: StreamOptions(sendBufferBytes: 64 << 10, receiveBufferBytes: 64 << 10)) { client, server in
            client.receiver = sender
            server.receiver = collector
            #expect(client.write(body: body.readOnly, token: 1) == .pending)
            server.startReading()
            var checks = 0
            var queuedBefore = -1
            look = {
                checks += 1
                // Once two looks in a row find the same, the kernel's buffers are full and the writer waits.
                if checks < 2 || client.bytesQueued != queuedBefore {
                    queuedBefore = client.bytesQueued
                    return
                }
                #expect(collector.filled == filledAtStop && !server.isReading)
                #expect(client.bytesQueued > 0 && sender.writes.isEmpty)
                server.startReading()
                queuedBefore = -1
                checks = -1_000_000
            }
            collector.onReceived = {
                if filledAtStop == 0 {
                    server.stopReading()
                    filledAtStop = collector.filled
                    timer.start(every: .milliseconds(10))
                } else if collector.filled == total && sender.writes.count == 1 {
                    loop.stop()
                }
            }
            sender.onWrote = { if collector.filled == total { loop.stop() } }
        }
    }
    #expect(filledAtStop > 0 && filledAtStop < total)
    #expect(collector.memory.contents == body.contents)
}
