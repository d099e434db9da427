import CLibuv
import Glibc

/// An IPv4 or IPv6 address with its port, as the socket calls take it.
package struct SocketAddress: Sendable, Equatable, CustomStringConvertible {
    private var storage: sockaddr_storage

    /// A numeric address; nil when `host` is a name (or empty). IPv6 with or without brackets.
    package init?(host: String, port: UInt16) {
        var host = host
        if host.hasPrefix("[") && host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        var v4 = sockaddr_in()
        var v6 = sockaddr_in6()
        if uv_ip4_addr(host, Int32(port), &v4) == 0 {
            storage = sockaddr_storage()
            withUnsafeMutableBytes(of: &storage) { to in withUnsafeBytes(of: v4) { to.copyMemory(from: $0) } }
        } else if uv_ip6_addr(host, Int32(port), &v6) == 0 {
            storage = sockaddr_storage()
            withUnsafeMutableBytes(of: &storage) { to in withUnsafeBytes(of: v6) { to.copyMemory(from: $0) } }
        } else {
            return nil
        }
    }

    /// Copies what a system call or the resolver returned; nil for families other than IPv4 and IPv6.
    init?(_ address: UnsafePointer<sockaddr>) {
        let bytes: Int
        switch Int32(address.pointee.sa_family) {
        case AF_INET: bytes = MemoryLayout<sockaddr_in>.size
        case AF_INET6: bytes = MemoryLayout<sockaddr_in6>.size
        default: return nil
        }
        storage = sockaddr_storage()
        // SAFETY: the family says how many bytes stand behind the pointer; sockaddr_storage holds any of them.
        withUnsafeMutableBytes(of: &storage) { to in
            to.copyMemory(from: UnsafeRawBufferPointer(start: address, count: bytes))
        }
    }

    /// Asks a socket for one of its two addresses (`uv_tcp_getsockname`, `uv_tcp_getpeername`).
    init?(asking call: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<Int32>) -> Int32) {
        var storage = sockaddr_storage()
        var length = Int32(MemoryLayout<sockaddr_storage>.size)
        let found = withUnsafeMutablePointer(to: &storage) { storage in
            storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { call($0, &length) == 0 ? SocketAddress($0) : nil }
        }
        guard let found else { return nil }
        self = found
    }

    /// Lends the address as a `sockaddr`.
    func withPointer<Result>(_ body: (UnsafePointer<sockaddr>) -> Result) -> Result {
        withUnsafePointer(to: storage) { storage in
            storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0) }
        }
    }

    /// The addresses of this host's interfaces, without ports (`uv_interface_addresses`); none where the system does not say.
    package static func ofThisHost() -> [SocketAddress] {
        var list: UnsafeMutablePointer<uv_interface_address_t>?
        var count: Int32 = 0
        guard uv_interface_addresses(&list, &count) == 0, let list else { return [] }
        defer { uv_free_interface_addresses(list, count) }
        return (0..<Int(count)).compactMap { index in
            withUnsafePointer(to: &list[index].address) { address in
                // SAFETY: the union of both kinds of address begins with the family, as every sockaddr does.
                address.withMemoryRebound(to: sockaddr.self, capacity: 1) { SocketAddress($0) }
            }
        }
    }

    /// Whether it leads to this host itself, whichever that is: 127.0.0.0/8 and ::1.
    package var isLoopback: Bool { ipv4.map { $0.0 == 127 } ?? (ipv6.dropLast().allSatisfy { $0 == 0 } && ipv6.last == 1) }

    /// Whether it is no address but stands for all of this host's: 0.0.0.0 and ::.
    package var isUnspecified: Bool { ipv4.map { $0 == (0, 0, 0, 0) } ?? ipv6.allSatisfy { $0 == 0 } }

    /// The four bytes of an IPv4 address, also of one written as IPv6 (::ffff:10.0.0.1); nil for other IPv6 addresses.
    private var ipv4: (UInt8, UInt8, UInt8, UInt8)? {
        var bytes = ipv6
        if isIPv6 {
            guard bytes.prefix(10).allSatisfy({ $0 == 0 }), bytes[10] == 0xFF, bytes[11] == 0xFF else { return nil }
            bytes = Array(bytes.suffix(4))
        } else {
            // SAFETY: sockaddr_in has its address behind family and port, four bytes after the beginning.
            bytes = withPointer { Array(UnsafeRawBufferPointer(start: UnsafeRawPointer($0) + 4, count: 4)) }
        }
        return (bytes[0], bytes[1], bytes[2], bytes[3])
    }

    /// The sixteen bytes of an IPv6 address; of no meaning for others.
    private var ipv6: [UInt8] {
        // SAFETY: sockaddr_in6 has its address behind family, port and flow, eight bytes after the beginning.
        withPointer { Array(UnsafeRawBufferPointer(start: UnsafeRawPointer($0) + 8, count: 16)) }
    }

    package var isIPv6: Bool { Int32(storage.ss_family) == AF_INET6 }

    /// In host byte order.
    package var port: UInt16 {
        withPointer { address in
            // SAFETY: both families keep the port in the same two bytes, right after the family.
            UnsafeRawPointer(address).load(fromByteOffset: 2, as: UInt16.self).bigEndian
        }
    }

    /// The numeric address without the port, as `10.0.0.1` or `fe80::1`.
    package var host: String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
            withPointer { uv_ip_name($0, buffer.baseAddress, buffer.count) == 0 }
                ? String(cString: buffer.baseAddress!) : "?"
        }
    }

    /// `10.0.0.1:29500`, `[::1]:29500`.
    package var description: String { Self.text(host: host, port: port) }

    /// How host and port are written together in every message.
    package static func text(host: String, port: UInt16) -> String {
        host.contains(":") && !host.hasPrefix("[") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    package static func == (one: SocketAddress, other: SocketAddress) -> Bool {
        withUnsafeBytes(of: one.storage) { one in withUnsafeBytes(of: other.storage) { one.elementsEqual($0) } }
    }
}
