import Glibc
import TestSupport
import Testing

/// A compute thread takes no signal, whatever is sent, and whatever program it is in.
@Suite(.serialized) struct SignalTests {
    /// All that can be handled, but what a thread's own faults raise, and what glibc keeps for itself.
    private static let kinds = (1..<Int32(65)).filter {
        ![SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGKILL, SIGSTOP, SIGPIPE, 32, 33].contains($0)
    }

    /// A program of its own that handles each of them.
    @Test(arguments: [("gpt", 120), ("cnn", 60), ("products", 1500)])
    func hundredsOfEachChangeNothing(kind: String, steps: Int) throws {
        let program = try built("Probe")
        let arguments = ["compute", kind, "\(steps)"]
        let undisturbed = try Started(program, arguments).ended()
        let digest = try #require(undisturbed.lines.last?.split(separator: " ").last)
        #expect(undisturbed.status == 0 && undisturbed.output.contains("handled 0 astray 0"))

        let run = try Started(program, arguments)
        try #require(wait { run.output.contains("ready") }, "\(run.errors)")
        var sent = 0
        while sent < 300 * SignalTests.kinds.count, !run.output.contains("handled") {
            kill(run.pid, SignalTests.kinds[sent % SignalTests.kinds.count])
            sent += 1
            usleep(20)
        }
        // Had any stopped it, this lets it go on.
        kill(run.pid, SIGCONT)
        let ended = try run.ended(within: .seconds(120))
        #expect(ended.status == 0, "after \(sent): \(ended.errors)")
        let words = ended.lines.last.map { $0.split(separator: " ") } ?? []
        try #require(words.count == 6, "\(ended.output)")
        #expect(Int(words[1])! > 100 && words[3] == "0" && words[5] == digest, "\(ended.output)")
    }

    /// The same within a job, by `Ring` itself.
    @Test func theRanksOfAJobToo() throws {
        let program = try built("Probe")
        let alone = try Started(program, ["compute", "gpt", "40"]).ended()
        let digest = try #require(alone.lines.last?.split(separator: " ").last)
        let environments = try ByHandTests.environments(2, port: freePort())
        let runs = try environments.map { try Started(program, ["compute", "gpt", "40"], environment: $0) }
        try #require(wait { runs.allSatisfy { $0.output.contains("ready") } }, "\(runs.map(\.errors))")
        var sent = 0
        while sent < 100 * SignalTests.kinds.count, !runs.contains(where: { $0.output.contains("handled") }) {
            // Those that ask a Trainer to stop are not for this test: its loop is its own and does not ask.
            for run in runs { kill(run.pid, SignalTests.kinds[sent % SignalTests.kinds.count]) }
            sent += 1
            usleep(20)
        }
        for run in runs {
            let ended = try run.ended(within: .seconds(120))
            #expect(ended.status == 0 && ended.output.contains(" astray 0 ") && ended.output.contains(digest), "\(ended)")
        }
    }

    /// Every thread of a command that computes, but the one that takes signals, blocks what can be blocked.
    @Test func theThreadsOfAWorkerBlockAll() throws {
        let run = try startLockstep(["train", "digits", "--hidden", "16", "--steps", "1000000", "-n", "2"])
        try #require(wait { run.output.contains("step 1/") }, "\(run.errors)")
        // The guardian is a child, too, and has one thread.
        let workers = run.children.filter { contents(of: "/proc/\($0)/comm") == "lockstep\n" }
        #expect(workers.count == 2)
        for worker in workers {
            let all = threads(of: worker)
            #expect(all.count > 3)
            let open = all.filter { SignalTests.blocked(thread: $0, of: worker) & (1 << (SIGTERM - 1)) == 0 }
            #expect(open.map { contents(of: "/proc/\(worker)/task/\($0)/comm") } == ["lockstep-signal\n"])
        }
        kill(run.pid, SIGTERM)
        #expect(try run.end(within: .seconds(60)) == 143)
    }

    private static func blocked(thread: String, of pid: Int32) -> UInt64 {
        let status = contents(of: "/proc/\(pid)/task/\(thread)/status")
        let line = status.split(separator: "\n").first { $0.hasPrefix("SigBlk:") }
        return line.flatMap { UInt64($0.dropFirst("SigBlk:".count).filter { !$0.isWhitespace }, radix: 16) } ?? 0
    }

    /// What a launcher starts has no signal blocked and none ignored that it has not ignored by itself.
    @Test func programsStartWithTheirSignals() throws {
        let script = "grep -E '^Sig(Blk|Ign):' /proc/self/status; exec \(try built("Spirals")) > /dev/null"
        let ended = try lockstep("run", "-n", "1", "--", "/bin/sh", "-c", script)
        #expect(ended.status == 0, "\(ended.errors)")
        let masks = ended.lines.compactMap { $0.split(separator: "\t").last }
        // 32 and 33 are glibc's own.
        #expect(masks.count == 2 && masks.allSatisfy { UInt64($0, radix: 16).map { $0 & ~(3 << 31) } == 0 }, "\(ended.output)")
    }

    /// Stopped again and again, at moments that nobody has chosen, a run ends with the digest of one that never was.
    @Test func twentyStopsAtRandomMoments() throws {
        let directory = try TemporaryDirectory()
        let task = ["train", "digits", "--hidden", "16", "--global-batch-size", "40", "--decay-steps", "100000"]
        let files = ["--out", directory("run"), "-n", "2"]
        var step = 0
        for round in 0..<20 {
            let run = try startLockstep(task + files + ["--steps", "100000"] + (round == 0 ? [] : ["--resume"]))
            try #require(wait { run.output.contains("parameters") }, "\(run.errors)")
            usleep(.random(in: 0..<200_000))
            kill(run.pid, SIGINT)
            let ended = try run.ended(within: .seconds(60))
            #expect(ended.status == 130, "\(ended.errors)")
            let last = try #require(ended.lines.last)
            let reached = try #require(Int(last.dropFirst("stopped after step ".count).prefix { $0.isNumber }), "\(ended)")
            #expect(reached > step)
            step = reached
            #expect(entries(below: directory("run/checkpoints")).contains { $0.hasSuffix("\(step)") })
        }
        let total = ["--steps", "\(step + 5)"]
        let resumed = try startLockstep(task + files + total + ["--resume"]).ended()
        let whole = try startLockstep(task + total).ended(within: .seconds(300))
        #expect(resumed.status == 0 && resumed.digest != nil && resumed.digest == whole.digest, "\(resumed.errors)")
    }

    /// A request that comes while workers are starting ends them all, wherever each is on its way in, and costs nothing.
    @Test(arguments: 0..<16) func aStopWhileWorkersStart(moment: Int) throws {
        let directory = try TemporaryDirectory()
        let run = try startLockstep(
            ["train", "digits", "--hidden", "16", "--steps", "1000000", "--out", directory("run"), "-n", "2"])
        try #require(wait { run.children.count >= moment / 4 })
        usleep(UInt32(moment % 4) * 7_000)
        kill(run.pid, SIGINT)
        let ended = try run.ended(within: .seconds(60))
        #expect(ended.status == 130 && ended.errorLines.count <= 1, "\(ended)")
    }
}

/// The threads of a process, by their numbers.
private func threads(of pid: Int32) -> [String] {
    guard let directory = opendir("/proc/\(pid)/task") else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if !name.hasPrefix(".") { names.append(name) }
    }
    return names
}

private let canMakeNamespaces = geteuid() == 0 && access("/usr/bin/unshare", X_OK) == 0

/// Process 1 of a container, for which the kernel drops signals without a handler.
@Suite(.serialized, .enabled(if: canMakeNamespaces, "needs root and unshare")) struct ContainerTests {

    /// The command as process 1, and its number here.
    private static func start(_ arguments: [String]) throws -> (Started, pid: Int32) {
        let run = try Started("/usr/bin/unshare", ["--pid", "--fork", "--", built("lockstep")] + arguments)
        try #require(wait { run.children.count == 1 })
        return (run, run.children[0])
    }

    @Test(arguments: [SIGINT, SIGTERM, SIGHUP]) func generateAndEvalEnd(signal: Int32) throws {
        let directory = try TemporaryDirectory()
        try write(String(repeating: "the quick brown fox jumps over the lazy dog. ", count: 2000), to: directory("text"))
        let text = ["--data", directory("text")]
        let trained = try startLockstep(
            ["train", "text", "--steps", "1", "--layers", "1", "--embedding", "16", "--heads", "1", "--out", directory("run")] + text
        ).ended()
        try #require(trained.status == 0, "\(trained.errors)")
        let generate = ["generate", "--checkpoint", directory("run"), "--prompt", "the", "--tokens", "100000000"]
        let (run, pid) = try ContainerTests.start(generate)
        try #require(wait { run.output.count > 10 }, "\(run.errors)")
        kill(pid, signal)
        #expect(try run.end(within: .seconds(20)) == 128 + signal)

        try write(String(repeating: "the quick brown fox jumps over the lazy dog. ", count: 400_000), to: directory("long"))
        let (eval, evalPid) = try ContainerTests.start(
            ["eval", "--checkpoint", directory("run"), "--data", directory("long"), "--micro-batch-size", "1"])
        // It has the thread that takes signals, and so is past the start.
        try #require(wait { threads(of: evalPid).count > 1 })
        kill(evalPid, signal)
        #expect(try eval.end(within: .seconds(20)) == 128 + signal, "\(eval.errors)")
    }

    @Test(arguments: [SIGINT, SIGTERM]) func trainingStopsInOrder(signal: Int32) throws {
        let directory = try TemporaryDirectory()
        let task = ["train", "digits", "--hidden", "16", "--steps", "1000000"]
        let (alone, pid) = try ContainerTests.start(task)
        try #require(wait { alone.output.contains("step 1/") }, "\(alone.errors)")
        kill(pid, signal)
        #expect(try alone.end(within: .seconds(20)) == 75)

        let (run, launcher) = try ContainerTests.start(task + ["-n", "2", "--out", directory("run")])
        try #require(wait { run.output.contains("step 1/") }, "\(run.errors)")
        kill(launcher, signal)
        #expect(try run.end(within: .seconds(60)) == 128 + signal)
        #expect(run.output.contains("stopped after step "))
    }
}
