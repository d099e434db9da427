import Glibc
import Launching
import Testing

/// Runs whose workers die, freeze, come and go: they end as if nothing had been.
@Suite(.serialized) struct FaultTests {
    /// Long enough to be disturbed, short enough for a test.
    static let task = ["train", "digits", "--hidden", "256,256", "--steps", "400"]

    static let digest: String? = try? startLockstep(task).ended().digest

    /// A run with a directory, and its first steps.
    private static func training(
        workers: Int, in directory: TemporaryDirectory, _ flags: [String] = [], steps: Int = 400, environment: [String: String] = [:]
    ) throws -> Started {
        let run = try startLockstep(
            Array(task.dropLast()) + ["\(steps)", "-n", "\(workers)", "--out", directory("run"), "--metrics", directory("metrics")] + flags,
            environment: environment)
        try #require(wait { lines(directory) > 2 || !isAlive(run.pid) }, "\(run.output)\(run.errors)")
        return run
    }

    private static func lines(_ directory: TemporaryDirectory) -> Int {
        contents(of: directory("metrics")).count { $0 == "\n" }
    }

    private static func pids(_ directory: TemporaryDirectory) -> [Int: Int32] {
        let workers = JobDirectory.read(directory("run"))?.workers ?? []
        return Dictionary(workers.map { ($0.rank, $0.pid) }, uniquingKeysWith: { $1 })
    }

    private static func state(_ rank: Int, _ directory: TemporaryDirectory) -> JobRecord.WorkerState? {
        JobDirectory.read(directory("run"))?.workers.first { $0.rank == rank }?.state
    }

    @Test(arguments: [0, 2])
    func aKilledWorkerCostsNothing(rank: Int) throws {
        let directory = try TemporaryDirectory()
        let run = try FaultTests.training(workers: 3, in: directory)
        let pid = try #require(FaultTests.pids(directory)[rank])
        #expect(run.killChild(pid))
        #expect(wait { FaultTests.pids(directory)[rank] != pid && FaultTests.state(rank, directory) == .running })
        let ended = try run.ended()
        #expect(ended.status == 0 && ended.digest != nil && ended.digest == FaultTests.digest, "\(ended.output)\(ended.errors)")
        let said = ended.errorLines
        #expect(said.count == 2, "\(ended.errors)")
        #expect(said.first?.hasPrefix("lockstep: rank \(rank) (pid \(pid)) was killed by SIGKILL after ") == true)
        #expect(said.first?.hasSuffix("; 2 workers go on; it is started again (restart 1 of 3)") == true)
        #expect(said.last?.hasPrefix("lockstep: rank \(rank) is back: generation ") == true)
        // Every step once, whoever wrote it.
        let steps = contents(of: directory("metrics")).split(separator: "\n").map { $0.dropFirst(8).prefix { $0 != "," } }
        #expect(steps == (1...400).map { "\($0)" })
        #expect(JobDirectory.read(directory("run"))?.status == 0)
        #expect(!entries(below: directory("run")).contains("job.secret"))
    }

    /// Its output has come to its end before it dies, so that it is started again in the very moment in which it is seen to be dead.
    @Test func aWorkerThatDiesBeforeItJoinsIsWaitedFor() throws {
        let script = """
            if [ $RANK = 1 ] && [ $LOCKSTEP_RESTART_COUNT = 0 ]; then exec >&- 2>&-; sleep 0.2; kill -9 $$; fi
            exec "$@"
            """
        let task = [try built("lockstep")] + StopTests.task + ["--steps", "20"]
        let ended = try startLockstep(["run", "-n", "3", "--max-restarts", "2", "--", "/bin/sh", "-c", script, "sh"] + task).ended()
        #expect(ended.status == 0 && ended.errorLines.count == 1, "\(ended.errors)")
        #expect(ended.errors.hasSuffix("; 2 workers go on; it is started again (restart 1 of 2)\n"), "\(ended.errors)")
        let alone = try startLockstep(StopTests.task + ["--steps", "20"]).ended()
        #expect(alone.digest.map { ended.output.contains($0) } == true, "\(ended.output)")
    }

    @Test func theLastWorkerGoesOnAlone() throws {
        let directory = try TemporaryDirectory()
        let run = try FaultTests.training(workers: 3, in: directory, ["--max-restarts", "0"])
        let pids = FaultTests.pids(directory)
        for rank in 0..<2 { #expect(try run.killChild(#require(pids[rank]))) }
        let ended = try run.ended()
        #expect(ended.status == 0 && ended.digest == FaultTests.digest, "\(ended.output)\(ended.errors)")
        #expect(ended.errorLines.count == 2 && ended.errors.contains("; 1 worker goes on without it\n"), "\(ended.errors)")
    }

    @Test func aFrozenWorkerIsShutOutAndComesAgain() throws {
        let directory = try TemporaryDirectory()
        let run = try FaultTests.training(workers: 3, in: directory, ["--peer-timeout", "3"])
        let pid = try #require(FaultTests.pids(directory)[1])
        kill(pid, SIGSTOP)
        let ended = try run.ended()
        #expect(ended.status == 0 && ended.digest == FaultTests.digest, "\(ended.output)\(ended.errors)")
        #expect(ended.errors.contains("lockstep: rank 1 (pid \(pid)) was frozen and has been killed; 2 workers go on"), "\(ended.errors)")
        #expect(!isAlive(pid))
    }

    /// The first to die has its next life, which has nothing yet to go on with, when the other dies: that one's death is told of, and not
    /// that the new life is ended for company.
    @Test func whatKilledTheLastWorkerIsTold() throws {
        let directory = try TemporaryDirectory()
        let run = try FaultTests.training(workers: 2, in: directory, ["--max-restarts", "50"], steps: 1_000_000)
        let last = try #require(FaultTests.pids(directory)[1])
        var next: Int32 = 0
        // The new life is kept from coming in before the other one dies; should it have been faster, the next one is.
        for _ in 0..<50 {
            let first = try #require(FaultTests.pids(directory)[0])
            kill(first, SIGKILL)
            try #require(wait { FaultTests.pids(directory)[0] != first })
            next = try #require(FaultTests.pids(directory)[0])
            kill(next, SIGSTOP)
            if FaultTests.state(0, directory) != .running { break }
        }
        kill(last, SIGKILL)
        try #require(wait { run.errors.contains("no worker is left") }, "\(run.errors)")
        kill(next, SIGCONT)
        let ended = try run.ended(within: .seconds(30))
        #expect(ended.status == 137)
        let final = ended.errorLines.last ?? ""
        #expect(final.hasPrefix("lockstep: rank 1 (pid \(last)) was killed by SIGKILL after "), "\(ended.errors)")
        #expect(!ended.errors.contains("SIGTERM"), "\(ended.errors)")
        #expect(!isAlive(next))
    }

    /// One after the other, for longer than a sign of life may take: they are waited for, and go on as if nothing had been.
    @Test func allWorkersThatAreStoppedGoOnLater() throws {
        let directory = try TemporaryDirectory()
        let run = try FaultTests.training(workers: 3, in: directory, ["--peer-timeout", "1"], steps: 1_000_000)
        let pids = FaultTests.pids(directory).values
        for _ in 0..<2 {
            let told = run.errors.split(separator: "\n").count { $0.contains("no sign of life for ") }
            for pid in pids { kill(pid, SIGSTOP) }
            #expect(wait { run.errors.split(separator: "\n").count { $0.contains("no sign of life for ") } > told }, "\(run.errors)")
            for pid in pids { kill(pid, SIGCONT) }
            let lines = FaultTests.lines(directory)
            #expect(wait { FaultTests.lines(directory) > lines || !isAlive(run.pid) })
        }
        try FaultTests.expectEveryStepOnce(run, directory)
        let ended = try run.ended()
        #expect(!ended.errors.contains("frozen") && ended.errors.contains(" of ranks 0, 1, 2, and no other worker"), "\(ended.errors)")
        #expect(ended.errors.contains(" gives signs of life again: the run goes on\n"), "\(ended.errors)")
    }

    /// The one that has the state is waited for until its own deadline.
    @Test func theLastWorkerThatStaysSilentEndsTheRunAtTheDeadline() throws {
        let directory = try TemporaryDirectory()
        let run = try FaultTests.training(
            workers: 1, in: directory, ["--peer-timeout", "1", "--rejoin-timeout", "2"], steps: 1_000_000)
        let pid = try #require(FaultTests.pids(directory)[0])
        kill(pid, SIGSTOP)
        let ended = try run.ended(within: .seconds(30))
        #expect(ended.status == 137 && ended.errorLines.count == 3, "\(ended.errors)")
        let lines = ended.errorLines
        #expect(lines.first?.contains(" of rank 0, and no other worker has the run's state: ") == true, "\(lines)")
        #expect(lines.first?.hasSuffix("the run waits 2.0 s (--rejoin-timeout)") == true, "\(lines)")
        #expect(lines.last == "lockstep: rank 0 (pid \(pid)) was frozen and has been killed; no worker is left")
        #expect(!isAlive(pid))
    }

    /// The launcher alone stands still, for longer than anything else may: nobody else has.
    @Test func aLauncherThatIsStoppedBlamesNobody() throws {
        let directory = try TemporaryDirectory()
        let run = try FaultTests.training(workers: 2, in: directory, ["--peer-timeout", "0.5"], steps: 2000)
        kill(run.pid, SIGSTOP)
        let lines = FaultTests.lines(directory)
        let began = ContinuousClock.now
        // The workers go on meanwhile.
        #expect(wait { FaultTests.lines(directory) > lines + 20 && ContinuousClock.now - began > .seconds(3) })
        kill(run.pid, SIGCONT)
        let ended = try run.ended(within: .seconds(120))
        #expect(ended.status == 0 && ended.errors.isEmpty, "\(ended.errors)")
    }

    /// Ctrl-Z, and `fg` later: everybody stops and goes on, and nobody is taken for dead.
    @Test func ctrlZStopsTheWorkersToo() throws {
        let directory = try TemporaryDirectory()
        let run = try FaultTests.training(workers: 2, in: directory, ["--peer-timeout", "0.5"], steps: 1_000_000)
        let pids = FaultTests.pids(directory).values
        for _ in 0..<2 {
            kill(run.pid, SIGTSTP)
            #expect(wait { ([run.pid] + pids).allSatisfy(isStopped) })
            let lines = FaultTests.lines(directory)
            // For longer than anybody may be silent.
            usleep(1_500_000)
            #expect(FaultTests.lines(directory) == lines && pids.allSatisfy(isStopped))
            kill(run.pid, SIGCONT)
            #expect(wait { FaultTests.lines(directory) > lines || !isAlive(run.pid) })
        }
        try FaultTests.expectEveryStepOnce(run, directory)
        #expect(try run.ended().errorLines.count == 1, "\(run.errors)")
    }

    /// Stops the run by a Ctrl-C: up to there it has done each step, once, with the workers it began with.
    private static func expectEveryStepOnce(_ run: Started, _ directory: TemporaryDirectory) throws {
        kill(run.pid, SIGINT)
        #expect(try run.end(within: .seconds(30)) == 130, "\(run.output)\(run.errors)")
        let steps = contents(of: directory("metrics")).split(separator: "\n").map { $0.dropFirst(8).prefix { $0 != "," } }
        #expect(steps == (1...max(1, steps.count)).map { "\($0)" })
        #expect(JobDirectory.read(directory("run"))?.workers.allSatisfy { $0.restarts == 0 } == true)
    }

    @Test(arguments: [SIGINT, SIGTERM, SIGUSR1])
    func aRunThatIsToldToStopDoesSoAfterAStepAndGoesOnLater(signal: Int32) throws {
        let directory = try TemporaryDirectory()
        let run = try FaultTests.training(workers: 3, in: directory)
        kill(run.pid, signal)
        let stopped = try run.ended()
        #expect(stopped.status == 128 + signal, "\(stopped.output)\(stopped.errors)")
        #expect(stopped.lines.last?.hasPrefix("stopped after step ") == true, "\(stopped.output)")
        #expect(stopped.errorLines.count == 1, "\(stopped.errors)")
        #expect(JobDirectory.read(directory("run"))?.status == 128 + signal)
        // They did as they were told.
        #expect(JobDirectory.read(directory("run"))?.workers.map(\.state) == [.ended, .ended, .ended])
        let resumed = try startLockstep(FaultTests.task + ["-n", "2", "--out", directory("run"), "--resume"]).ended()
        #expect(resumed.status == 0 && resumed.digest == FaultTests.digest, "\(resumed.output)\(resumed.errors)")
    }

    @Test func aKilledLauncherLeavesACheckpointAndNobodyElse() throws {
        let directory = try TemporaryDirectory()
        let run = try FaultTests.training(workers: 3, in: directory, ["--checkpoint-every", "20"])
        #expect(wait { entries(below: directory("run/checkpoints")).contains { $0.hasPrefix("step-") && $0.hasSuffix("/manifest.json") } })
        let pids = FaultTests.pids(directory).values
        kill(run.pid, SIGKILL)
        #expect(wait(for: .seconds(20)) { !pids.contains(where: isAlive) })
        try run.end()
        let scale = try lockstep("scale", "-n", "2", "--out", directory("run"))
        #expect(scale.status == 1 && scale.errorLines.count == 1 && scale.errors.contains("was killed; start it again with --resume"))
        let resumed = try startLockstep(FaultTests.task + ["-n", "4", "--out", directory("run"), "--resume"]).ended()
        #expect(resumed.status == 0 && resumed.digest == FaultTests.digest, "\(resumed.output)\(resumed.errors)")
    }

    @Test func aSecondRunOnADirectoryIsRefused() throws {
        let directory = try TemporaryDirectory()
        let run = try FaultTests.training(workers: 2, in: directory, steps: 1_000_000)
        let second = try startLockstep(FaultTests.task + ["-n", "2", "--out", directory("run"), "--resume"]).ended()
        #expect(second.status == 1 && second.errorLines.count == 1, "\(second.errors)")
        #expect(second.errors.contains("another run is at work in \(directory("run")) (pid \(run.pid) on "), "\(second.errors)")
        kill(run.pid, SIGINT)
        #expect(try run.end() == 130)
    }

    @Test func aJobGrowsAndShrinksWhileItRuns() throws {
        let directory = try TemporaryDirectory()
        let run = try FaultTests.training(workers: 2, in: directory, steps: 4000)
        #expect(contents(of: directory("run/job.secret")).count == 65)
        var status = stat()
        #expect(stat(directory("run/job.secret"), &status) == 0 && status.st_mode & 0o777 == 0o600)
        for size in [4, 1, 3] {
            let answer = try lockstep("scale", "-n", "\(size)", "--out", directory("run"))
            #expect(answer.status == 0 && answer.output == "the job is to have \(size) worker\(size == 1 ? "" : "s")\n", "\(answer)")
            let isThere = wait { contents(of: directory("metrics")).split(separator: "\n").last?.contains("\"world_size\":\(size),") == true }
            #expect(isThere, "\(size): \(run.errors)")
        }
        let shown = try lockstep("status", "--out", directory("run"))
        #expect(shown.output.contains("running: launcher \(run.pid) on ") && shown.output.contains("rank 3") && shown.output.contains("retired"))
        let ended = try run.ended()
        let alone = try startLockstep(Array(FaultTests.task.dropLast()) + ["4000"]).ended()
        #expect(ended.status == 0 && ended.digest != nil && ended.digest == alone.digest, "\(ended.output)\(ended.errors)")
        let late = try lockstep("scale", "-n", "2", "--out", directory("run"))
        #expect(late.status == 1 && late.errors == "lockstep: the job in \(directory("run")) has ended, with status 0\n")
    }

    @Test func scalingWhatIsNotThere() throws {
        let directory = try TemporaryDirectory()
        let none = try lockstep("scale", "-n", "2", "--out", directory("none"))
        #expect(none.status == 1 && none.errorLines.count == 1 && none.errors.contains("there is no job in \(directory("none"))"))
        let bad = try lockstep("scale", "-n", "0", "--out", directory("none"))
        #expect(bad.status == 2 && bad.errorLines.count == 1 && bad.errors.contains("-n is 0, which must be from 1 to 1024"))
    }

    /// Whoever may write to the directory may put anything there: nobody waits for it, and nobody takes it for a job's.
    @Test(arguments: ["job.json", "job.secret", "job.lock"], ["FIFO", "directory", "device"])
    func whatIsNoPlainFileIsSaid(name: String, kind: String) throws {
        let directory = try TemporaryDirectory()
        let file = directory(name)
        switch kind {
        case "FIFO": try #require(mkfifo(file, 0o600) == 0)
        case "directory": try #require(mkdir(file, 0o700) == 0)
        default: try #require(symlink("/dev/zero", file) == 0)
        }
        for command in [["scale", "-n", "2"], ["status"]] {
            let ended = try startLockstep(command + ["--out", directory("")]).ended(within: .seconds(20))
            #expect(ended.status == 1 && ended.errorLines.count == 1, "\(ended.errors)")
            #expect(ended.errors.contains("\(name) is a \(kind) and no plain file"), "\(ended.errors)")
        }
    }

    /// nohup, and shells' background jobs.
    @Test func aHangUpThatIsIgnoredStaysSo() throws {
        let directory = try TemporaryDirectory()
        let script = "trap '' HUP; exec \"$0\" \"$@\""
        let run = try Started(
            "/bin/sh", ["-c", script, built("lockstep")] + FaultTests.task + ["-n", "2", "--out", directory("run"), "--metrics", directory("metrics")])
        try #require(wait { FaultTests.lines(directory) > 2 })
        // Workers have a session of their own, which no terminal's end reaches.
        kill(run.pid, SIGHUP)
        let ended = try run.ended()
        #expect(ended.status == 0 && ended.digest == FaultTests.digest && ended.errors.isEmpty, "\(ended.errors)")
    }
}
