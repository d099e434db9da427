import EventLoop
import Testing

@Test(arguments: ["127.0.0.1", "0.0.0.0", "::1", "[::1]", "::"])
func portZeroGetsAFreePortAndSaysWhich(host: String) throws {
    try withLoop { loop in
        let listener = try TCPListener(loop: loop, host: host, port: 0) { _ in }
        #expect(listener.address.port != 0)
        #expect(listener.address.isIPv6 == host.contains(":"))
        #expect(listener.address.description.hasSuffix(":\(listener.address.port)"))
        loop.stop()
    }
}

@Test func aPortInUseIsSaidToBeInUse() throws {
    try withLoop { loop in
        let listener = try TCPListener(loop: loop, host: "127.0.0.1", port: 0) { _ in }
        let address = listener.address.description
        let error = #expect(throws: LoopError.self) {
            try TCPListener(loop: loop, host: "127.0.0.1", port: listener.address.port) { _ in }
        }
        #expect(error == .listen(address: address, code: .addressInUse))
        #expect(
            error?.description
                == "cannot listen on \(address): the port is in use; choose another")
        loop.stop()
    }
}

@Test func aNameIsLookedUp() throws {
    try withLoop { loop in
        let listener = try TCPListener(loop: loop, host: "localhost", port: 0) { _ in }
        #expect(["127.0.0.1", "::1"].contains(listener.address.host))
        loop.stop()
    }
}

/// The name is one that never exists, by RFC 6761.
@Test(arguments: ["", "no.such.host.invalid"])
func aNameWithoutAnAddressIsRefused(host: String) throws {
    try withLoop { loop in
        let error = #expect(throws: LoopError.self) { try TCPListener(loop: loop, host: host, port: 80) { _ in } }
        guard case .resolve(host, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        loop.stop()
    }
}

@Test func anAddressOfAnotherHostIsRefused() throws {
    try withLoop { loop in
        // TEST-NET-1: documentation only, never this host's.
        let error = #expect(throws: LoopError.self) {
            try TCPListener(loop: loop, host: "192.0.2.1", port: 0) { _ in }
        }
        #expect(error?.code?.name == "EADDRNOTAVAIL")
        loop.stop()
    }
}

@Test(arguments: [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80"), ("fe80:0:0::1", "[fe80::1]:80")])
func anAddressPrintsAsItIsWritten(host: String, text: String) throws {
    let address = try #require(SocketAddress(host: host, port: 80))
    #expect(address.description == text && address.port == 80)
}
