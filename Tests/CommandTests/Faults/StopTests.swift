import Glibc
import Testing

/// A request to stop: the step is ended, a checkpoint written, and resuming gives the bits of never having stopped.
@Suite(.serialized) struct StopTests {
    static let task = ["train", "digits", "--hidden", "16", "--global-batch-size", "40", "--decay-steps", "4000"]

    @Test(arguments: [SIGINT, SIGTERM, SIGUSR1]) func theFirstSignalEndsTheStep(signal: Int32) throws {
        let directory = try TemporaryDirectory()
        let files = ["--out", directory("run"), "--metrics", directory("metrics")]
        let run = try startLockstep(StopTests.task + files + ["--steps", "1000000"])
        try #require(wait { run.output.contains("step 1/") }, "\(run.errors)")
        kill(run.pid, signal)
        let ended = try run.ended()
        #expect(ended.status == 128 + signal && ended.errorLines.count == 1 && ended.digest == nil, "\(ended)")
        let last = try #require(ended.lines.last)
        #expect(last.hasPrefix("stopped after step ") && last.hasSuffix("; --resume goes on from there"))
        let step = try #require(Int(last.dropFirst("stopped after step ".count).prefix { $0.isNumber }))
        #expect(entries(below: directory("run/checkpoints")).contains { $0.hasSuffix("\(step)") })

        let total = ["--steps", "\(step + 5)"]
        let resumed = try startLockstep(StopTests.task + files + total + ["--resume", "-n", "2"]).ended()
        let whole = try startLockstep(StopTests.task + total).ended()
        #expect(resumed.status == 0 && resumed.digest != nil && resumed.digest == whole.digest, "\(resumed.errors)")
        let records = try contents(of: directory("metrics")).split(separator: "\n").map { try Record(String($0)) }
        #expect(records.map { $0["step"] } == (1...step + 5).map(Double.init))
    }

    /// One rank of two gets it; both stop at the same step.
    @Test func aSignalToOneRankStopsAll() throws {
        let directory = try TemporaryDirectory()
        let environments = try ByHandTests.environments(2, port: freePort())
        let runs = try environments.map {
            try startLockstep(StopTests.task + ["--steps", "1000000", "--out", directory("run")], environment: $0)
        }
        try #require(wait { runs[0].output.contains("step 1/") }, "\(runs[0].errors)")
        kill(runs[1].pid, SIGUSR1)
        let ended = try runs.map { try $0.ended() }
        #expect(ended.map(\.status) == [75, 75] && ended.allSatisfy { $0.errors.isEmpty }, "\(ended)")
        #expect(ended[0].lines.last?.hasPrefix("stopped after step ") == true && ended[1].output.isEmpty)
        #expect(try lockstep("inspect", directory("run")).status == 0)
    }

    /// The second one is not for asking: here in an evaluation, at whose end a first one would be heard only.
    @Test(arguments: [[SIGINT, SIGINT], [SIGINT, SIGTERM], [SIGUSR1, SIGINT]]) func theSecondSignalEndsTheProcess(signals: [Int32]) throws {
        let run = try startLockstep(["train", "digits", "--hidden", "3000,3000", "--global-batch-size", "1500", "--micro-batch-size", "1500"])
        try #require(wait { run.output.contains("step 1/") }, "\(run.errors)")
        usleep(50_000)
        kill(run.pid, signals[0])
        // Further apart than what counts as one, and again if the process was not at its turn between the two.
        let hasEnded = wait {
            usleep(150_000)
            guard isAlive(run.pid) else { return true }
            kill(run.pid, signals[1])
            return false
        }
        #expect(try hasEnded && run.end() == 128 + signals[1], "\(run.output)")
        #expect(!run.output.contains("stopped"))
    }

    /// What was checked by then was right, and that is not to be read as the contrary.
    @Test func aCheckThatIsStoppedSaysSo() throws {
        let run = try startLockstep(["check", "-n", "2", "--largest", "16M"])
        try #require(wait { run.output.split(separator: "\n").count > 1 }, "\(run.errors)")
        kill(run.pid, SIGTERM)
        let ended = try run.ended()
        #expect(ended.status == 143 && ended.lines.last == "stopped before the end: the lines above are all that was checked")
    }

    /// A shell that starts something in the background has it ignore SIGINT, and so does nohup with SIGHUP.
    @Test func whatWasIgnoredStaysSo() throws {
        let script = "trap '' INT; exec \(try built("lockstep")) \(StopTests.task.joined(separator: " ")) --steps 1000000"
        let run = try Started("/bin/sh", ["-c", script])
        try #require(wait { run.output.contains("step 1/") }, "\(run.errors)")
        kill(run.pid, SIGINT)
        // It goes on, for more than the step at hand.
        let lines = run.output.count { $0 == "\n" }
        #expect(wait { run.output.count { $0 == "\n" } > lines + 2 || !isAlive(run.pid) })
        #expect(isAlive(run.pid) && !run.output.contains("stopped"), "\(run.output)")
        kill(run.pid, SIGTERM)
        #expect(try run.end() == 75)
    }
}
