import EventLoop
import Glibc
import TestSupport
import Testing

/// A port on the loopback interface that swallows packets: its listener accepts nobody, and has no room for anybody more to wait.
private final class SwallowingPort {
    private var descriptors: [Int32] = []
    let address: SocketAddress

    init() throws {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        func withName(_ body: (UnsafeMutablePointer<sockaddr>) -> Int32) -> Int32 {
            withUnsafeMutablePointer(to: &name) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0) }
            }
        }
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        descriptors.append(listener)
        let code = withName { bind(listener, $0, length) == 0 && listen(listener, 0) == 0 ? getsockname(listener, $0, &length) : -1 }
        address = try #require(SocketAddress(host: "127.0.0.1", port: UInt16(bigEndian: name.sin_port)))
        try #require(code == 0)
        // One that the queue has room for, and one more: from then on the kernel answers nobody.
        for _ in 0..<4 {
            let guest = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
            descriptors.append(guest)
            _ = withName { connect(guest, $0, length) }
        }
    }

    deinit {
        for descriptor in descriptors { close(descriptor) }
    }
}

/// A host with several addresses, of which the first has no answer.
@Suite struct SideBySideTests {
    @Test func anAddressThatSwallowsPacketsDoesNotStarveTheNext() throws {
        let swallowing = try SwallowingPort()
        try expectOnce(within: .seconds(2)) {
            var connected: String?
            let start = ContinuousClock.now
            try withLoop { loop in
                let listener = try TCPListener(loop: loop, host: "127.0.0.1", port: 0) { _ in }
                try Connector(
                    loop: loop, host: "two.addresses", port: listener.address.port, within: generousLimit,
                    resolve: { _, _, found in found(.success([swallowing.address, listener.address])) }
                ) { result in
                    connected = try? result.get().peerAddress
                    #expect(connected == listener.address.description, "\(result)")
                    loop.stop()
                }
            }
            #expect(connected != nil)
            return ContinuousClock.now - start
        }
    }

    /// The second address refuses at first: it is tried again although the first has not been heard of.
    @Test func theNextIsTriedAgainBesideIt() throws {
        let swallowing = try SwallowingPort()
        let port = try ReservedPort()
        var connected: String?
        try withLoop { loop in
            var rounds = 0
            let later = try #require(SocketAddress(host: "127.0.0.1", port: port.number))
            try Connector(
                loop: loop, host: "two.addresses", port: port.number, within: generousLimit,
                resolve: { _, _, found in
                    rounds += 1
                    if rounds == 2 { do { try port.listen() } catch { Issue.record("\(error)") } }
                    found(.success([swallowing.address, later]))
                }
            ) { result in
                connected = try? result.get().peerAddress
                #expect(connected == later.description, "\(result)")
                loop.stop()
            }
        }
        #expect(connected != nil)
    }

    /// Both have failed: the failure is the last one's, as it always was.
    @Test func whereNoneAnswersTheDeadlineEndsIt() throws {
        let swallowing = try SwallowingPort()
        var outcome: Result<TCPStream, LoopError>?
        try withLoop { loop in
            try Connector(
                loop: loop, host: "silent.host", port: 9, within: .milliseconds(700),
                resolve: { _, _, found in found(.success([swallowing.address])) }
            ) { result in
                outcome = result
                loop.stop()
            }
        }
        guard case .failure(.connectDeadline("silent.host:9", let attempts, _, let last))? = outcome else {
            Issue.record("\(String(describing: outcome))")
            return
        }
        #expect(attempts == 1 && last == nil)
    }
}
