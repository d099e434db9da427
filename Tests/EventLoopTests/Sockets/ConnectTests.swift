import EventLoop
import TestSupport
import Testing

/// Connects with a loop of its own and returns what came of it.
private func connect(
    to host: String, port: UInt16? = nil, within limit: Duration = .zero
) throws -> (result: Result<TCPStream, LoopError>?, port: UInt16, after: Duration) {
    var outcome: Result<TCPStream, LoopError>?
    var used: UInt16 = 0
    let silent = try ReservedPort()
    defer { withExtendedLifetime(silent) {} }
    let start = ContinuousClock.now
    try withLoop { loop in
        used = port ?? silent.number
        try Connector(loop: loop, host: host, port: used, within: limit) { result in
            #expect(outcome == nil)
            outcome = result
            loop.stop()
        }
    }
    return (outcome, used, ContinuousClock.now - start)
}

@Test func aRefusedConnectionNamesTheAddress() throws {
    let (result, port, _) = try connect(to: "127.0.0.1")
    #expect(throws: LoopError.connect(address: "127.0.0.1:\(port)", code: .connectionRefused)) { try result?.get() }
}

@Test func aNameIsResolvedAndBothItAndTheAddressAreNamed() throws {
    let (result, port, _) = try connect(to: "localhost")
    guard case .failure(.connect(let address, .connectionRefused))? = result else {
        Issue.record("\(String(describing: result))")
        return
    }
    #expect(address == "localhost:\(port) (127.0.0.1)" || address == "localhost:\(port) (::1)")
}

@Test func anUnknownNameIsSaidToBeUnknown() throws {
    let (result, _, _) = try connect(to: "no-such-host.invalid", port: 1)
    guard case .failure(.resolve(let host, _))? = result else {
        Issue.record("\(String(describing: result))")
        return
    }
    #expect(host == "no-such-host.invalid")
}

@Test func attemptsEndAtTheDeadline() throws {
    // Two pauses take 15 ms: in this time there are three attempts however busy the machine is.
    let limit = Duration.seconds(2)
    let (result, port, after) = try connect(to: "127.0.0.1", within: limit)
    guard case .failure(.connectDeadline(let address, let attempts, _, let last))? = result else {
        Issue.record("\(String(describing: result))")
        return
    }
    #expect(address == "127.0.0.1:\(port)" && last == .connectionRefused)
    #expect(attempts >= 3 && after >= limit && after < limit + generousLimit)
}

@Test func attemptsGoOnUntilThePeerListens() throws {
    let port = try ReservedPort()
    var result: Result<TCPStream, LoopError>?
    try withLoop { loop in
        try Connector(loop: loop, host: "127.0.0.1", port: port.number, within: generousLimit) {
            result = $0
            loop.stop()
        }
        // By now the first attempts have been refused.
        let later = try Timer(loop: loop) {
            #expect(result == nil)
            do { try port.listen() } catch { Issue.record("\(error)") }
        }
        later.start(after: .milliseconds(40))
    }
    #expect(try result?.get().peerAddress == "127.0.0.1:\(port.number)")
}

@Test func aCancelledConnectorSaysNothingAndLeavesNothing() throws {
    var called = false
    try withLoop { loop in
        let listener = try TCPListener(loop: loop, host: "127.0.0.1", port: 0) { _ in }
        // One is cancelled before it has begun, one while it connects, one while its name is looked up.
        let port = listener.address.port
        let early = try Connector(loop: loop, host: "127.0.0.1", port: port) { _ in called = true }
        early.cancel()
        early.cancel()
        let connecting = try Connector(loop: loop, host: "127.0.0.1", port: port, within: .seconds(5)) { _ in called = true }
        let resolving = try Connector(loop: loop, host: "localhost", port: port, within: .seconds(5)) { _ in called = true }
        let timer = try Timer(loop: loop) {
            connecting.cancel()
            resolving.cancel()
            listener.close()
            loop.enqueueHere { loop.enqueueHere(loop.stop) }
        }
        timer.start(after: .zero)
    }
    #expect(!called)
}
