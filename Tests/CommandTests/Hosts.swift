import Glibc
import Testing

/// Hosts made of network namespaces on one wire, with addresses 10.97.0.1 and so on; they go with this object.
///
/// Needs root, iproute2 and iptables.
final class Hosts {
    private let name: String
    let count: Int

    /// Whether this process may make some: found out by making one with a rule in it.
    static let canBeMade: Bool = {
        guard Namespaces.canBeMade, let hosts = try? Hosts(1) else { return false }
        return (try? hosts.iptables(0, "-A INPUT -p tcp -m length --length 1000: -j DROP")) != nil
    }()

    static let lack: Comment = "making hosts with a packet filter needs root, iproute2 and iptables"

    init(_ count: Int) throws {
        self.count = count
        name = "lockstep-test-\(getpid())-\(Hosts.next())"
        try script("ip netns add \(name)-wire && ip -n \(name)-wire link add wire type bridge && ip -n \(name)-wire link set wire up")
        for host in 0..<count {
            try script(
                """
                ip netns add \(name)-\(host) &&
                ip link add eth0 netns \(name)-\(host) type veth peer name eth\(host) netns \(name)-wire &&
                ip -n \(name)-wire link set eth\(host) master wire && ip -n \(name)-wire link set eth\(host) up &&
                ip -n \(name)-\(host) addr add \(Hosts.address(host))/24 dev eth0 &&
                ip -n \(name)-\(host) link set eth0 up && ip -n \(name)-\(host) link set lo up
                """)
        }
    }

    deinit {
        for host in 0..<count { _ = try? script("ip netns del \(name)-\(host)") }
        _ = try? script("ip netns del \(name)-wire")
    }

    private nonisolated(unsafe) static var made = 0
    private static func next() -> Int {
        made += 1
        return made
    }

    static func address(_ host: Int) -> String { "10.97.0.\(host + 1)" }

    /// Adds a rule of the packet filter on a host.
    func iptables(_ host: Int, _ rule: String) throws {
        try script("ip netns exec \(name)-\(host) iptables \(rule)")
    }

    /// Starts the command as rank `host` of as many as there are hosts.
    func start(_ host: Int, _ arguments: [String], environment: [String: String] = [:]) throws -> Started {
        let own = [
            "RANK": "\(host)", "WORLD_SIZE": "\(count)", "MASTER_ADDR": Hosts.address(0), "MASTER_PORT": "29500",
            "LOCKSTEP_SECRET": ByHandTests.secret,
        ]
        return try Started(
            "/usr/bin/env", ["ip", "netns", "exec", "\(name)-\(host)", built("lockstep")] + arguments,
            environment: own.merging(environment) { $1 })
    }

    private func script(_ text: String) throws {
        let ended = try Started("/bin/sh", ["-c", text]).ended()
        try #require(ended.status == 0, "\(text): \(ended.errors)")
    }
}
