import Glibc
import Testing

/// Ranks started by hand of which one does not come as it should: the others learn at once why.
@Suite(.serialized) struct ByHandStartTests {
    /// Three ranks; gives what they came to. `first` has a moment's start, so that it is there when the others come.
    private func run(
        environment changes: [Int: [String: String]] = [:], flags: [Int: [String]] = [:], task: [String] = ByHandTests.task
    ) throws -> [Ended] {
        // With the usual time to join: nobody is to wait for that.
        let environments = try ByHandTests.environments(3, port: freePort(), timeout: 300)
        let start = ContinuousClock.now
        let started = try environments.enumerated().map { rank, environment in
            try startLockstep(task + (flags[rank] ?? []), environment: environment.merging(changes[rank] ?? [:]) { $1 })
        }
        let ended = try started.map { try $0.ended() }
        #expect(ContinuousClock.now - start < .seconds(60), "\(ended.map(\.errors))")
        return ended
    }

    @Test(arguments: [1, 2])
    func anotherWorldSize(rank: Int) throws {
        let ended = try run(environment: [rank: ["WORLD_SIZE": "4"]])
        #expect(ended.map(\.status) == [1, 1, 1])
        for one in ended { #expect(one.errors.contains("WORLD_SIZE is 4 for rank \(rank) and 3 for the coordinator"), "\(one.errors)") }
    }

    /// It never comes to join.
    @Test(arguments: [0, 1, 2])
    func aFlagError(rank: Int) throws {
        let ended = try run(flags: [rank: ["--micro-batch-size", "-4"]])
        #expect(ended[rank].status == 2 && ended[rank].errorLines.count == 1, "\(ended[rank].errors)")
        for (other, one) in ended.enumerated() where other != rank {
            #expect(one.status == 1 && one.errorLines.count == 1, "\(one.errors)")
            #expect(one.errors.contains("rank \(rank) of 3 ended before ") && one.errors.contains("--micro-batch-size is -4"), "\(one.errors)")
        }
    }

    @Test func anotherSecret() throws {
        let ended = try run(environment: [2: ["LOCKSTEP_SECRET": String(repeating: "ab", count: 32)]])
        #expect(ended.map(\.status) == [1, 1, 1])
        for one in ended.prefix(2) { #expect(one.errors.contains("rank 2 of 3 did not join; refused was 127.0.0.1:"), "\(one.errors)") }
        #expect(ended[2].errors.contains("LOCKSTEP_SECRET"), "\(ended[2].errors)")
    }

    /// Found out when the ring stands already, and before the first step.
    @Test(arguments: [0, 2])
    func dataThatIsNotThere(rank: Int) throws {
        let directory = try TemporaryDirectory()
        try write(Array(String(repeating: "all work and no play ", count: 200).utf8), to: directory("text"))
        let task = ["train", "text", "--steps", "2", "--layers", "1", "--embedding", "16", "--heads", "2", "--context", "16", "--data"]
        let flags = Dictionary(uniqueKeysWithValues: (0..<3).map { ($0, [directory($0 == rank ? "nowhere" : "text")]) })
        let ended = try run(flags: flags, task: task)
        #expect(ended[rank].status == 1 && ended[rank].errors.contains("nowhere"), "\(ended[rank].errors)")
        for (other, one) in ended.enumerated() where other != rank {
            #expect(one.status != 0 && one.errors.contains("rank \(rank)"), "\(one.errors)")
            #expect(one.digest == nil)
        }
    }

    @Test(arguments: ["0", "-3", "soon", "1e9", "86401"])
    func nonsenseAsTimeToJoin(value: String) throws {
        let flag = try lockstep("train", "digits", "--steps", "1", "--join-timeout", value)
        #expect(flag.status == 2 && flag.errorLines.count == 1 && flag.errors.contains("join-timeout"), "\(flag.errors)")
        let run = try lockstep("run", "--join-timeout", value, "--", "true")
        #expect(run.status == 2 && run.errorLines.count == 1 && run.errors.contains("join-timeout"), "\(run.errors)")
        var environment = try ByHandTests.environments(2, port: freePort())[1]
        environment["LOCKSTEP_JOIN_TIMEOUT"] = value
        let variable = try startLockstep(ByHandTests.task, environment: environment).ended()
        #expect(variable.status == 1 && variable.errorLines.count == 1, "\(variable.errors)")
        #expect(variable.errors.contains("LOCKSTEP_JOIN_TIMEOUT is \"\(value)\""), "\(variable.errors)")
    }

    /// By flag and by variable; the flag has the last word.
    @Test func theTimeToJoinIsASetting() throws {
        var environment = try ByHandTests.environments(2, port: freePort())[0]
        environment["LOCKSTEP_JOIN_TIMEOUT"] = "2"
        let variable = try startLockstep(ByHandTests.task, environment: environment).ended()
        #expect(variable.status == 1 && variable.errors.contains("did not join within 2.0 s"), "\(variable.errors)")
        environment["LOCKSTEP_JOIN_TIMEOUT"] = "600"
        let flag = try startLockstep(ByHandTests.task + ["--join-timeout", "1"], environment: environment).ended()
        #expect(flag.status == 1 && flag.errors.contains("did not join within 1.0 s"), "\(flag.errors)")
    }

    /// Under a launcher: workers that come too late, and in time.
    @Test func aLauncherSaysThatWorkersDidNotCome() throws {
        let late = ["-n", "2", "--", "/bin/sh", "-c", "sleep 60"]
        let ended = try startLockstep(["run", "--join-timeout", "1"] + late).ended()
        #expect(ended.status == 1, "\(ended.status)")
        #expect(ended.errors.contains("rank 0, 1 of 2 did not join within 1.0 s"), "\(ended.errors)")
        #expect(ended.errors.contains("--join-timeout"), "\(ended.errors)")
        let task = try ["/bin/sh", "-c", "sleep 2; exec \"$@\"", "sh", built("lockstep")] + ByHandTests.task
        let inTime = try startLockstep(["run", "-n", "2", "--join-timeout", "60", "--"] + task).ended()
        #expect(inTime.status == 0, "\(inTime.errors)")
    }
}
