import Glibc
import Testing

/// Ranks started by hand whose coordinator goes with rank 0: those that live write a checkpoint and stop.
@Suite(.serialized) struct CoordinatorLossTests {
    private static let task = ["train", "digits", "--hidden", "64", "--steps", "400"]

    /// Starts the ranks, waits until some steps are done, and kills those ranks. What the others came to, by rank.
    private func survivors(
        of worldSize: Int, killing ranks: [Int], in directory: TemporaryDirectory, _ flags: [String] = []
    ) throws -> [Int: Ended] {
        let environments = try ByHandTests.environments(worldSize, port: freePort(), timeout: 60)
        let all = Self.task + flags + ["--metrics", directory("metrics")]
        let started = try environments.map { try startLockstep(all, environment: $0) }
        try #require(
            wait { contents(of: directory("metrics")).count { $0 == "\n" } > 3 || !isAlive(started[0].pid) },
            "\(started.map(\.errors))")
        for rank in ranks { kill(started[rank].pid, SIGKILL) }
        var ended: [Int: Ended] = [:]
        for (rank, run) in started.enumerated() where !ranks.contains(rank) { ended[rank] = try run.ended() }
        return ended
    }

    @Test(arguments: [(2, [0]), (3, [0]), (4, [0, 1])] as [(Int, [Int])], [[], ["--shard-optimizer", "--optimizer", "adamw"]])
    func theyWriteACheckpointAndStop(world: (size: Int, killed: [Int]), flags: [String]) throws {
        let directory = try TemporaryDirectory()
        let isLost = flags.contains("--shard-optimizer") && world.killed.count > 1
        let ended = try survivors(of: world.size, killing: world.killed, in: directory, flags + ["--out", directory("run")])
        for (rank, one) in ended {
            // Both that had a part of the optimizer's state are gone: that is what is said.
            #expect(isLost ? one.status != 0 : one.status == 76, "rank \(rank): \(one.status) \(one.output)\(one.errors)")
            if isLost { continue }
            #expect(one.errors.contains("the coordinator went with rank 0: "), "\(one.errors)")
            #expect(one.errors.contains("; stopped after step "), "\(one.errors)")
        }
        if isLost {
            #expect(ended.values.contains { $0.errors.contains("optimizer's state was lost") }, "\(ended)")
            return
        }
        let names = entries(below: directory("run/checkpoints")).filter { $0.hasSuffix("manifest.json") }
        #expect(names.count == 1, "\(names)")
        let alone = try startLockstep(Self.task + flags).ended()
        let resumed = try startLockstep(Self.task + flags + ["--out", directory("run"), "--resume"]).ended()
        #expect(resumed.status == 0 && resumed.digest != nil && resumed.digest == alone.digest, "\(resumed.output)\(resumed.errors)")
    }

    @Test func withoutADirectoryTheySayThatNothingIsKept() throws {
        let directory = try TemporaryDirectory()
        let ended = try survivors(of: 3, killing: [0], in: directory)
        for one in ended.values {
            #expect(one.status == 76 && one.errors.contains("the coordinator went with rank 0: "), "\(one.errors)")
        }
        #expect(ended[1]?.output.contains("without --out nothing is kept") == true, "\(ended)")
    }

    /// The others go on when it is not rank 0 that dies.
    @Test func withoutAnotherRankTheyGoOn() throws {
        let directory = try TemporaryDirectory()
        let ended = try survivors(of: 3, killing: [2], in: directory)
        let alone = try startLockstep(Self.task).ended()
        #expect(ended.values.allSatisfy { $0.status == 0 } && ended[0]?.digest == alone.digest, "\(ended)")
    }
}
