import EventLoop
import Glibc
import Testing

/// A port on which nothing listens, and nobody can while this lives: a socket is bound to it.
private final class SilentPort {
    private let descriptor: Int32
    let number: UInt16

    init() {
        let own = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(own, $0, length) == 0 ? getsockname(own, $0, &length) : -1
            }
        }
        precondition(code == 0, "no port to be had")
        descriptor = own
        number = UInt16(bigEndian: address.sin_port)
    }

    deinit {
        close(descriptor)
    }
}

/// Connects with a loop of its own and returns what came of it.
private func connect(
    to host: String, port: UInt16? = nil, within limit: Duration = .zero
) throws -> (result: Result<TCPStream, LoopError>?, port: UInt16, after: Duration) {
    var outcome: Result<TCPStream, LoopError>?
    var used: UInt16 = 0
    let silent = SilentPort()
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
    let (result, port, after) = try connect(to: "127.0.0.1", within: .milliseconds(100))
    guard case .failure(.connectDeadline(let address, let attempts, _, let last))? = result else {
        Issue.record("\(String(describing: result))")
        return
    }
    #expect(address == "127.0.0.1:\(port)" && last == .connectionRefused)
    #expect(attempts >= 3 && after >= .milliseconds(100) && after < .seconds(5))
}

@Test func attemptsGoOnUntilThePeerListens() throws {
    var accepted = 0
    var connected: TCPStream?
    try withLoop { loop in
        var silent: SilentPort? = SilentPort()
        let port = silent!.number
        func meet() { if accepted == 1 && connected != nil { loop.stop() } }
        try Connector(loop: loop, host: "127.0.0.1", port: port, within: .seconds(15)) { result in
            connected = try? result.get()
            #expect(connected?.peerAddress == "127.0.0.1:\(port)")
            meet()
        }
        let later = try Timer(loop: loop) {
            silent = nil
            _ = try! TCPListener(loop: loop, host: "127.0.0.1", port: port) { _ in
                accepted += 1
                meet()
            }
        }
        later.start(after: .milliseconds(40))
    }
    #expect(accepted == 1 && connected != nil)
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
