import Glibc
import TestSupport
import Testing

/// Workers started by hand, as on several hosts: no launcher, rank 0 coordinates.
@Suite(.serialized) struct ByHandTests {
    static let secret = String(repeating: "5e", count: 32)
    static let task = ["train", "digits", "--hidden", "16", "--steps", "5"]

    /// Environments of a world's ranks on this host.
    static func environments(_ worldSize: Int, port: Int, timeout: Int = 30) -> [[String: String]] {
        (0..<worldSize).map { rank in
            [
                "RANK": "\(rank)", "WORLD_SIZE": "\(worldSize)", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "\(port)",
                "LOCKSTEP_SECRET": secret, "LOCKSTEP_TIMEOUT": "\(timeout)",
            ]
        }
    }

    /// Runs one process a rank, all at a time.
    static func run(_ environments: [[String: String]], flags: [[String]]? = nil) throws -> [Ended] {
        let started = try environments.enumerated().map { try startLockstep(task + (flags?[$0] ?? []), environment: $1) }
        return try started.map { try $0.ended() }
    }

    @Test func theyJoinAndGiveTheDigestOfOne() throws {
        let alone = try startLockstep(ByHandTests.task).ended()
        let together = try ByHandTests.run(ByHandTests.environments(3, port: freePort()))
        #expect(together.map(\.status) == [0, 0, 0], "\(together)")
        #expect(together[0].digest != nil && together[0].digest == alone.digest)
        #expect(together.dropFirst().allSatisfy { $0.output.isEmpty && $0.errors.isEmpty })
    }

    @Test func aWrongSecretIsRefused() throws {
        // Time enough for both to start, however busy the machine is.
        var environments = try ByHandTests.environments(2, port: freePort(), timeout: 15)
        environments[1]["LOCKSTEP_SECRET"] = String(repeating: "ab", count: 32)
        let ended = try ByHandTests.run(environments)
        #expect(ended.map(\.status) == [1, 1])
        #expect(ended[1].errorLines.count == 1 && ended[1].errors.contains("LOCKSTEP_SECRET"), "\(ended[1].errors)")
        // Once when the stranger comes, and once when nobody else has.
        #expect(ended[0].errorLines.count == 2 && ended[0].errors.contains("rank 1 of 2 did not join"), "\(ended[0].errors)")
        #expect(ended[0].errors.contains("refused was 127.0.0.1:"), "\(ended[0].errors)")
    }

    @Test func worldsOfDifferentSizesAreRefused() throws {
        // Time enough for both to start, however busy the machine is.
        var environments = try ByHandTests.environments(2, port: freePort(), timeout: 15)
        environments[1]["WORLD_SIZE"] = "3"
        let ended = try ByHandTests.run(environments)
        #expect(ended.map(\.status) == [1, 1])
        #expect(ended[1].errorLines.count == 1 && ended[1].errors.contains("WORLD_SIZE is 3"), "\(ended[1].errors)")
    }

    @Test func otherFlagsAreRefused() throws {
        let ended = try ByHandTests.run(
            ByHandTests.environments(2, port: freePort()), flags: [[], ["--learning-rate", "0.01"]])
        // The one that differs is to blame.
        #expect(ended.map(\.status) == [76, 1])
        for one in ended { #expect(one.errorLines.count == 1 && one.errors.contains("rank 1 has flags or data other"), "\(one.errors)") }
    }

    /// Another model has other buckets, which the ring itself would stumble over.
    @Test func anotherModelIsRefused() throws {
        let ended = try ByHandTests.run(ByHandTests.environments(2, port: freePort()), flags: [[], ["--hidden", "300,300"]])
        #expect(ended.map(\.status) == [76, 1])
        for one in ended { #expect(one.errorLines.count == 1 && one.errors.contains("rank 1 has flags or data other"), "\(one.errors)") }
    }

    @Test func aMissingRankIsNamed() throws {
        let port = try freePort()
        let ended = try ByHandTests.run([ByHandTests.environments(2, port: port, timeout: 2)[0]])[0]
        #expect(ended.status == 1 && ended.errorLines.count == 1)
        #expect(ended.errors.contains("rank 1 of 2 did not join within 2.0 s"), "\(ended.errors)")
    }

    @Test func aCoordinatorThatIsNotThere() throws {
        let port = try freePort()
        let ended = try ByHandTests.run([ByHandTests.environments(2, port: port, timeout: 2)[1]])[0]
        #expect(ended.status == 1 && ended.errorLines.count == 1)
        #expect(ended.errors.contains("no coordinator at 127.0.0.1:\(port)"), "\(ended.errors)")
    }

    /// Under a launcher it is not this worker that failed: its status says so, and it is started again.
    @Test(arguments: [true, false]) func aCoordinatorThatGoesAway(isLauncher: Bool) throws {
        let port = try ReservedPort()
        try port.listen()
        var environment = ByHandTests.environments(2, port: Int(port.number))[1]
        if isLauncher { environment["LOCKSTEP_COORDINATOR"] = "launcher" }
        let run = try startLockstep(ByHandTests.task, environment: environment)
        try port.acceptAndClose()
        let ended = try run.ended()
        #expect(ended.status == (isLauncher ? 76 : 1) && ended.errorLines.count == 1, "\(ended)")
        #expect(ended.errors.contains("127.0.0.1:\(port.number)"), "\(ended.errors)")
    }

    @Test func aPortInUse() throws {
        let port = try ReservedPort()
        try port.listen()
        let ended = try ByHandTests.run([ByHandTests.environments(2, port: Int(port.number), timeout: 2)[0]])[0]
        #expect(ended.status == 1 && ended.errorLines.count == 1)
        #expect(ended.errors.contains("127.0.0.1:\(port.number)") && ended.errors.contains("MASTER_PORT"), "\(ended.errors)")
        withExtendedLifetime(port) {}
    }

    @Test(arguments: [
        (["RANK": "x"], "RANK is \"x\""), (["RANK": "-1"], "RANK is \"-1\""), (["RANK": "2"], "RANK is \"2\""),
        (["WORLD_SIZE": "0"], "WORLD_SIZE is \"0\""), (["WORLD_SIZE": ""], "WORLD_SIZE is \"\""),
        (["MASTER_PORT": "70000"], "MASTER_PORT is \"70000\""), (["MASTER_ADDR": ""], "MASTER_ADDR"),
        (["MASTER_ADDR": "no.such.host.invalid"], "no.such.host.invalid"), (["LOCKSTEP_SECRET": "short"], "LOCKSTEP_SECRET"),
        (["LOCKSTEP_SECRET": ""], "LOCKSTEP_SECRET"), (["LOCKSTEP_TIMEOUT": "soon"], "LOCKSTEP_TIMEOUT is \"soon\""),
    ])
    func aMalformedEnvironment(change: [String: String], expected: String) throws {
        let environment = try ByHandTests.environments(2, port: freePort(), timeout: 2)[1].merging(change) { $1 }
        let ended = try startLockstep(ByHandTests.task, environment: environment).ended()
        #expect(ended.status == 1 && ended.errorLines.count == 1 && ended.errors.contains(expected), "\(ended.errors)")
        #expect(ended.output.isEmpty && !ended.errors.contains(ByHandTests.secret))
    }

    @Test(arguments: ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCKSTEP_SECRET"])
    func anEnvironmentWithAGap(name: String) throws {
        var environment = try ByHandTests.environments(2, port: freePort())[1]
        environment[name] = nil
        let ended = try startLockstep(ByHandTests.task, environment: environment).ended()
        #expect(ended.status == 1 && ended.errorLines.count == 1 && ended.errors.contains("\(name) is not set"), "\(ended.errors)")
    }

    @Test(.enabled(if: Namespaces.canBeMade, "making network namespaces needs root and iproute2"))
    func twoHosts() throws {
        let alone = try startLockstep(ByHandTests.task).ended()
        let ended = try Started(packageRoot + "/scripts/two-hosts", [built("lockstep")] + ByHandTests.task).ended()
        #expect(ended.status == 0 && ended.digest != nil && ended.digest == alone.digest, "\(ended.output)\(ended.errors)")
        #expect(ended.output.contains(" 2 workers"))
    }
}

/// A port on which the processes that are told it can listen, and which nobody else has until the tests end.
func freePort() throws -> Int { try Int(ReservedPort.untilTheEnd()) }

enum Namespaces {
    /// Whether this process may make network namespaces: found out by making one.
    static let canBeMade: Bool = {
        guard geteuid() == 0 else { return false }
        let name = "lockstep-test-\(getpid())"
        return shell("ip netns add \(name) && ip netns del \(name)")
    }()

    private static func shell(_ script: String) -> Bool {
        (try? Started("/bin/sh", ["-c", script]).end()) == 0
    }
}
