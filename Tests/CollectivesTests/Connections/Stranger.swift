import Glibc
import TestSupport
import Wire

/// What strangers try.
enum Stranger: CaseIterable {
    case noise, webRequest, otherSecret, olderVersion, noProof, halfHello, silence

    /// Whether it has said enough to be refused at once; else it is waited for as long as a handshake may take.
    var isRefusedAtOnce: Bool { self != .halfHello && self != .silence }

    /// Connects to a port of this host and says what this stranger says. nil if nobody listens there.
    func connect(to port: UInt16, _ secret: Secret, purpose: Introduction.Purpose) -> Int32? {
        let own = Introduction(purpose: purpose, generation: 1, rank: 0)
        func hello(_ secret: Secret) -> [UInt8] {
            ((try? Handshake.connecting(secret: secret, own: own, expectedRank: nil).hello) ?? [])
        }
        var generator = SeededGenerator(seed: UInt64(port))
        let noise = (0..<20_000).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
        var words: [UInt8]
        switch self {
        case .noise: words = noise
        case .webRequest: words = Array("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8)
        case .otherSecret: words = (try? Secret.random()).map(hello) ?? []
        case .olderVersion:
            words = hello(secret)
            words[4] = 0
        case .noProof: words = hello(secret) + noise.prefix(32)
        case .halfHello: words = Array(hello(secret).prefix(40))
        case .silence: words = []
        }
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let code = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else {
            close(descriptor)
            return nil
        }
        _ = send(descriptor, words, words.count, Int32(MSG_NOSIGNAL))
        return descriptor
    }
}

/// Whether the other side closes a connection within some seconds; what it says before is not looked at.
func isClosed(_ descriptor: Int32, within seconds: Int) -> Bool {
    var limit = timeval(tv_sec: seconds, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    var buffer = [UInt8](repeating: 0, count: 256)
    while true {
        let count = recv(descriptor, &buffer, buffer.count, 0)
        if count > 0 { continue }
        return count == 0 || errno == ECONNRESET || errno == EPIPE
    }
}
