import Glibc
import Testing

/// Hosts that reach each other badly, or not at all.
@Suite(.serialized, .enabled(if: Hosts.canBeMade, Hosts.lack)) struct ReachTests {
    /// Fast enough for a test: silence of two seconds is silence.
    private static let quick = ["LOCKSTEP_PEER_TIMEOUT": "2"]
    private static let long = ["train", "digits", "--hidden", "16", "--steps", "1000000"]

    private func run(_ hosts: Hosts, environment: [Int: [String: String]] = [:]) throws -> [Ended] {
        let started = try (0..<hosts.count).map {
            try hosts.start($0, ByHandTests.task, environment: Self.quick.merging(environment[$0] ?? [:]) { $1 })
        }
        return try started.map { try $0.ended() }
    }

    /// Only the coordinator's port is open: dropped or refused, on both or on one.
    @Test(arguments: ["DROP", "REJECT"], [[0, 1], [1]])
    func withoutTheRingsPortsNobodyTrains(verdict: String, closed: [Int]) throws {
        let hosts = try Hosts(2)
        for host in closed { try hosts.iptables(host, "-A INPUT -i eth0 -p tcp --syn ! --dport 29500 -j \(verdict)") }
        let ended = try run(hosts)
        for one in ended {
            #expect(one.status == 1 && one.digest == nil && one.errorLines.count == 1, "\(one.status) \(one.errors)")
            #expect(one.errors.contains("has no connection with rank"), "\(one.errors)")
            #expect(closed.contains { one.errors.contains("\(Hosts.address($0)):") }, "\(one.errors)")
        }
    }

    @Test func theHostThatCannotBeReachedIsNamed() throws {
        let hosts = try Hosts(3)
        try hosts.iptables(1, "-A INPUT -i eth0 -p tcp --syn -j DROP")
        let ended = try run(hosts)
        #expect(ended.map(\.status) == [1, 1, 1])
        for one in ended { #expect(one.errors.contains("with rank 1 on ") && one.errors.contains("port 10.97.0.2:"), "\(one.errors)") }
    }

    @Test(arguments: ["127.0.0.1", "localhost", "127.1.2.3", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1"])
    func anAddressOfRankZerosOwnIsNamedAtOnce(address: String) throws {
        let hosts = try Hosts(2)
        let ended = try run(hosts, environment: [0: ["MASTER_ADDR": address]])
        for one in ended {
            #expect(one.status == 1 && one.errorLines.count == 1, "\(one.errors)")
            #expect(one.errors.contains("MASTER_ADDR leads rank 0 to ") && one.errors.contains("10.97.0.2"), "\(one.errors)")
        }
    }

    /// It may be that rank 0 has not started yet: this is said soon, and the wait is short. Rank 0 hears nothing of it.
    @Test(arguments: ["127.0.0.1", "localhost", "0.0.0.0", "::"])
    func anAddressOfAnothersOwnIsNamedSoon(address: String) throws {
        let hosts = try Hosts(2)
        let ended = try run(hosts, environment: [0: ["LOCKSTEP_JOIN_TIMEOUT": "20"], 1: ["MASTER_ADDR": address]])
        #expect(ended.map(\.status) == [1, 1])
        #expect(ended[0].errors.contains("rank 1 of 2 did not join within 20.0 s"), "\(ended[0].errors)")
        #expect(ended[1].errorLines.first?.contains("that is this host itself") == true, "\(ended[1].errors)")
        #expect(ended[1].errorLines.last?.contains("gave up after 15") == true, "\(ended[1].errors)")
    }

    /// Where the environment says that there are other hosts, it cannot be right.
    @Test func anAddressOfAnothersOwnIsNamedAtOnceWhereTheEnvironmentSaysThatThereAreOtherHosts() throws {
        let hosts = try Hosts(1)
        let one = ["RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"]
        let ended = try hosts.start(0, ByHandTests.task, environment: one).ended()
        #expect(ended.status == 1 && ended.errorLines.count == 1, "\(ended.errors)")
        #expect(ended.errors.contains("that is this host itself") && !ended.errors.contains("yet"), "\(ended.errors)")
    }

    /// Later: two ranks, of which neither is rank 0, cannot reach each other any more.
    @Test(arguments: [
        "-A INPUT -s 10.97.0.2 -j DROP", "-A OUTPUT -d 10.97.0.2 -j DROP", "-A INPUT -s 10.97.0.2 -m length --length 1000: -j DROP",
        "-A INPUT -s 10.97.0.2 -p tcp -j REJECT --reject-with tcp-reset",
    ])
    func aLinkThatBreaksIsNamedAndOneOfTheTwoIsTold(rule: String) throws {
        let hosts = try Hosts(3)
        let directory = try TemporaryDirectory()
        let task = rule.contains("length") ? ["train", "digits", "--hidden", "256,256", "--steps", "1000000"] : Self.long
        let runs = try (0..<3).map { rank in
            try hosts.start(rank, task + (rank == 0 ? ["--metrics", directory("metrics")] : []), environment: Self.quick)
        }
        try #require(wait { contents(of: directory("metrics")).count { $0 == "\n" } > 3 || !isAlive(runs[0].pid) }, "\(runs[0].errors)")
        try hosts.iptables(2, rule)
        let told = try runs[2].ended(within: .seconds(120))
        #expect(told.status == 76 && told.errors.contains("fenced: the others go on without this worker"), "\(told.status) \(told.errors)")
        #expect(!told.errors.contains("ECONNRESET") && !told.errors.contains("EPIPE"), "\(told.errors)")
        #expect(told.errors.contains("has no connection with"), "\(told.errors)")
        #expect(wait { runs[0].errors.contains("; 2 workers go on") }, "\(runs[0].errors)")
        #expect(runs[0].errors.contains("lockstep: rank 1 has no connection with rank 2: ")
            || runs[0].errors.contains("lockstep: rank 2 has no connection with rank 1: "), "\(runs[0].errors)")
        for run in runs.prefix(2) { kill(run.pid, SIGTERM) }
        for run in runs.prefix(2) { #expect(try run.ended().status == 75) }
    }
}
