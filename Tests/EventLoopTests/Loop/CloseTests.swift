import EventLoop
import Testing

@Test func closingTheLoopClosesEverythingThatIsOpen() throws {
    let loop = try Loop()
    weak var forgotten: Timer?
    do {
        let collector = Collector(count: 1)
        let body = Memory(count: 64 << 20)
        try withPair(loop) { client, server in
            client.receiver = collector
            server.receiver = collector
            server.startReading()
            #expect(client.write(body: body.readOnly, token: 9) == .pending)
            loop.stop()
        }
        let timer = try Timer(loop: loop) { Issue.record("fired after the end") }
        timer.start(after: .seconds(1000))
        forgotten = timer
        _ = try SignalWatcher(loop: loop, signal: .user2) {}
        _ = try Wake(loop: loop) {}
        _ = try Connector(loop: loop, host: "localhost", port: 1, within: .seconds(1000)) { _ in
            Issue.record("a connector called back after its loop was closed")
        }
        var specification = ChildProcess.Specification(program: "/bin/true")
        specification.output = .pipe
        _ = try ChildProcess(loop: loop, specification) { _ in }
        loop.run()
        #expect(loop.openHandles >= 8)
        loop.close()
        #expect(loop.openHandles == 0)
        // The write that was under way is the only one to be told.
        #expect(collector.writes.map(\.token) == [9] && collector.writes[0].error?.code == .canceled)
        #expect(collector.ends.isEmpty)
        loop.close()
    }
    #expect(forgotten == nil)
}

@Test func closingTwiceIsHarmlessAndTellsBoth() throws {
    var told = 0
    try withLoop { loop in
        let timer = try Timer(loop: loop) {}
        timer.close { told += 1 }
        timer.close { told += 1 }
        #expect(timer.isClosed && told == 0)
        loop.enqueueHere {
            loop.enqueueHere {
                #expect(told == 2)
                timer.close { told += 1 }
                loop.stop()
            }
        }
    }
    #expect(told == 3)
}

@Test func aThousandConnectionsLeaveNoHandle() throws {
    try withLoop { loop in
        var accepted = 0
        var closed = 0
        let total = 1000
        let collector = Collector(count: 1)
        let listener = try TCPListener(loop: loop, host: "127.0.0.1", port: 0) { result in
            guard let stream = try? result.get() else { return }
            accepted += 1
            stream.receiver = collector
            stream.startReading()
            stream.close()
        }
        func next() {
            guard closed < total else { return loop.stop() }
            func failed(_ error: any Error) {
                Issue.record("\(error) after \(closed) connections")
                loop.stop()
            }
            do {
                try Connector(loop: loop, host: "127.0.0.1", port: listener.address.port) { result in
                    do {
                        try result.get().close {
                            closed += 1
                            next()
                        }
                    } catch { failed(error) }
                }
            } catch { failed(error) }
        }
        next()
        loop.run()
        #expect(accepted >= total - 1)
        listener.close()
        loop.runOnce()
        loop.runOnce()
        // Only the watchdog is left.
        #expect(loop.openHandles == 1)
        loop.stop()
    }
}
