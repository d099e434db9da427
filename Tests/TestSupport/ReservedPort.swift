import EventLoop
import Glibc
import Synchronization

/// A TCP port of the loopback interface that belongs to this object as long as it lives.
///
/// A socket is bound to it, so the system gives it to nobody else, and a program that is told the number can still listen there
/// (SO_REUSEADDR on both sockets, of which one listens). Until somebody does, connections to the port are refused.
package final class ReservedPort: Sendable {
    package let number: UInt16
    private let descriptor: Int32

    package init() throws {
        let own = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard own >= 0 else { throw Failure(operation: "socket") }
        var yes: Int32 = 1
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                setsockopt(own, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size)) == 0
                    && bind(own, $0, length) == 0 && getsockname(own, $0, &length) == 0
            }
        }
        guard isBound else {
            let failure = Failure(operation: "bind")
            close(own)
            throw failure
        }
        descriptor = own
        number = UInt16(bigEndian: address.sin_port)
    }

    deinit {
        close(descriptor)
    }

    /// Connections to the port are taken from now on.
    package func listen() throws {
        guard Glibc.listen(descriptor, 16) == 0 else { throw Failure(operation: "listen") }
    }

    /// Waits for a connection to a port that listens, closes it, and refuses every other.
    package func acceptAndClose() throws {
        var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&ready, 1, 240_000) == 1 else { throw Failure(operation: "nobody has connected: poll") }
        close(accept(descriptor, nil, nil))
        shutdown(descriptor, Int32(SHUT_RDWR))
    }

    private static let lasting = Mutex<[ReservedPort]>([])

    /// A port that is nobody else's until the tests end: for processes that are told its number.
    package static func untilTheEnd() throws -> UInt16 {
        let port = try ReservedPort()
        lasting.withLock { $0.append(port) }
        return port.number
    }

    private struct Failure: Error, CustomStringConvertible {
        let operation: String
        let code = SystemCode(errno: errno)

        var description: String { "port: \(operation): \(code)" }
    }
}
