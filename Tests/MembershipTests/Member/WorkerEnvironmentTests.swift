import Membership
import Testing
import Wire

@Suite struct WorkerEnvironmentTests {
    private static let whole = [
        "RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500",
        "LOCKSTEP_SECRET": String(repeating: "ab", count: 32),
    ]

    private func read(_ changes: [String: String?]) throws(MembershipError) -> WorkerEnvironment {
        let values = Self.whole.merging(changes.compactMapValues { $0 }) { $1 }.filter { changes[$0.key] != .some(nil) }
        return try WorkerEnvironment { values[$0.rawValue] }
    }

    @Test func nothingSetIsAWorldOfOne() throws {
        #expect(try WorkerEnvironment { _ in nil } == WorkerEnvironment())
    }

    @Test func theUsualEnvironment() throws {
        let environment = try read([:])
        #expect(environment.rank == 1 && environment.worldSize == 3 && environment.localRank == 0)
        #expect(environment.coordinator?.host == "10.0.0.1" && environment.coordinator?.port == 29500)
        #expect(environment.coordinator?.isOurs == false)
    }

    @Test func rankZeroCoordinatesUnlessALauncherDoes() throws {
        #expect(try read(["RANK": "0"]).coordinator?.isOurs == true)
        #expect(try read(["RANK": "0", "LOCKSTEP_COORDINATOR": "launcher"]).coordinator?.isOurs == false)
    }

    @Test(arguments: [
        ("RANK", "-1"), ("RANK", "x"), ("RANK", "3"), ("WORLD_SIZE", "0"), ("WORLD_SIZE", "1e3"), ("MASTER_PORT", "65536"),
        ("MASTER_PORT", "http"), ("LOCKSTEP_SECRET", "short"), ("LOCKSTEP_TIMEOUT", "0"), ("LOCAL_RANK", "-2"), ("LOCKSTEP_OVERLAP", "2"),
    ])
    func nonsenseNamesTheVariable(name: String, value: String) {
        let error = #expect(throws: MembershipError.self) { try read([name: value]) }
        #expect(error?.description.hasPrefix(name + " is ") == true)
    }

    @Test(arguments: ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCKSTEP_SECRET"])
    func whatIsMissingIsNamed(name: String) {
        #expect(throws: MembershipError.missingEnvironment(name: name)) { try read([name: nil]) }
    }

    /// What a launcher writes is what a worker reads.
    @Test(arguments: [true, false]) func whatIsEncodedIsReadAgain(isLaunchers: Bool) throws {
        for rank in 0..<3 {
            var written = WorkerEnvironment()
            (written.rank, written.worldSize, written.localRank, written.localWorldSize) = (rank, 3, rank % 2, 2)
            written.coordinator = .init(
                host: "10.0.0.1", port: 29_500, secret: try Secret(hexadecimal: String(repeating: "ab", count: 32)),
                isOurs: rank == 0 && !isLaunchers, isLaunchers: isLaunchers)
            let variables = written.encoded
            #expect(try WorkerEnvironment { variables[$0] } == written)
        }
    }
}
