import EventLoop
import Testing

@Test func anOrderlyEndIsNotAnErrorAndTheOtherHalfGoesOn() throws {
    let last = Memory(patternBytes(1000))
    let answer = Memory(patternBytes(77))
    let atServer = Collector(count: 2000)
    let atClient = Collector(count: 100)
    var shutdownError: LoopError?? = .none
    try withLoop { loop in
        try withPair(loop) { client, server in
            client.receiver = atClient
            server.receiver = atServer
            client.startReading()
            server.startReading()
            atServer.onEnded = {
                #expect(server.write(body: answer.readOnly, token: 2) == .done)
                server.close()
            }
            atClient.onEnded = loop.stop
            #expect(client.write(body: last.readOnly, token: 1) == .done)
            client.shutdown { shutdownError = .some($0) }
        }
    }
    #expect(shutdownError == .some(nil))
    #expect(atServer.filled == 1000 && atServer.ends == [nil])
    #expect(Array(atServer.memory.contents.prefix(1000)) == last.contents)
    #expect(atClient.filled == 77 && atClient.ends == [nil])
}

@Test func aResetIsAnErrorThatNamesThePeer() throws {
    let collector = Collector(count: 10)
    var peer = ""
    try withLoop { loop in
        try withPair(loop) { client, server in
            server.receiver = collector
            peer = server.peerAddress
            #expect(peer == client.localAddress && client.peerAddress == server.localAddress)
            server.startReading()
            collector.onEnded = loop.stop
            client.reset()
        }
    }
    #expect(collector.ends == [.read(peer: peer, code: .connectionReset)])
    #expect(peer.hasPrefix("127.0.0.1:"))
    #expect(
        collector.ends[0]?.description
            == "connection to \(peer) lost while reading: connection reset by peer (ECONNRESET)")
}

@Test func writingToAPeerThatHasGoneIsReportedToTheWriter() throws {
    let body = Memory(patternBytes(1 << 20))
    let collector = Collector(count: 10)
    try withLoop { loop in
        try withPair(loop) { client, server in
            client.receiver = collector
            server.reset()
            // The kernel takes writes until it has seen the reset; sooner or later one fails, and only then this ends.
            var token: UInt64 = 0
            func writeMore() {
                token += 1
                if client.write(body: body.readOnly, token: token) == .done { loop.enqueueHere(writeMore) }
            }
            collector.onWrote = {
                if collector.writes.last?.error == nil { return writeMore() }
                loop.stop()
            }
            writeMore()
        }
    }
    let error = try #require(collector.writes.last?.error)
    #expect(error.code == .connectionReset || error.code == .brokenPipe)
}

@Test func aReceiverMayCloseTheStreamWhileItReads() throws {
    let body = Memory(patternBytes(1 << 20))
    let collector = Collector(count: 1 << 20)
    var received = 0
    try withLoop { loop in
        try withPair(loop) { client, server in
            client.receiver = Collector(count: 1)
            server.receiver = collector
            server.startReading()
            collector.onReceived = {
                received += 1
                server.close {
                    #expect(server.receiver == nil)
                    loop.stop()
                }
                #expect(server.isClosed && !server.isReading)
            }
            _ = client.write(body: body.readOnly, token: 1)
        }
    }
    #expect(received == 1 && collector.ends.isEmpty)
}

extension Loop {
    /// For tests on the loop's own thread: `enqueue` of a closure that is not Sendable.
    func enqueueHere(_ work: @escaping () -> Void) {
        preconditionOnThread()
        nonisolated(unsafe) let work = work
        enqueue { work() }
    }
}
