import Glibc
import Launching
import Testing

/// One run at a time writes to a directory, with a launcher of its own or without. A `run` in front takes the place of hosts on which
/// workers are started by hand: it holds no lock for them.
@Suite(.serialized) struct DirectoryLockTests {
    static let task = ["train", "digits", "--hidden", "16", "--decay", "constant"]

    /// A job that trains until it is told to stop, without a launcher that holds the lock; the first checkpoint is there.
    private func job(_ directory: TemporaryDirectory, workers: Int = 1, restarts: Int = 0) throws -> Started {
        let run = try startLockstep(
            ["run", "-n", "\(workers)", "--max-restarts", "\(restarts)", "--", built("lockstep")] + DirectoryLockTests.task
                + ["--steps", "10000000", "--checkpoint-every", "5", "--keep-checkpoints", "2", "--out", directory("run")])
        try #require(wait { !checkpoints(directory).isEmpty }, "\(run.output)\(run.errors)")
        return run
    }

    private func checkpoints(_ directory: TemporaryDirectory) -> [String] {
        entries(below: directory("run/checkpoints")).filter { $0.hasPrefix("step-") && $0.hasSuffix("/manifest.json") }
    }

    private func expectRefusal(_ ended: Ended, _ directory: TemporaryDirectory, by pid: Int32?, sourceLocation: SourceLocation = #_sourceLocation) {
        let text = "another run is at work in \(directory("run"))" + (pid.map { " (pid \($0) on " } ?? "")
        #expect(ended.status == 1 && ended.errors.contains(text), "\(ended)", sourceLocation: sourceLocation)
    }

    @Test func whoeverWritesHoldsTheLock() throws {
        let directory = try TemporaryDirectory()
        let run = try job(directory)
        let pid = try #require(Int32(contents(of: directory("run/job.lock")).prefix { $0.isNumber }))
        #expect(variable("RANK", of: pid) == "0" && run.children.contains(pid))
        let train = DirectoryLockTests.task + ["--steps", "10000000", "--out", directory("run")]
        for flags in [[], ["--resume"]] {
            // With a launcher, which is to hold the lock itself, and without.
            try expectRefusal(startLockstep(train + flags).ended(), directory, by: pid)
            try expectRefusal(startLockstep(["run", "--", built("lockstep")] + train + flags).ended(), directory, by: pid)
        }
        let before = Set(checkpoints(directory))
        #expect(wait { !before.isSuperset(of: checkpoints(directory)) })
        kill(run.pid, SIGKILL)
        try run.end()
        #expect(wait { !isAlive(pid) })
        let step = try #require(checkpoints(directory).last.flatMap { Int($0.dropFirst(5).prefix(8)) })
        let after = try startLockstep(DirectoryLockTests.task + ["--steps", "\(step + 1)", "--out", directory("run"), "--resume"]).ended()
        #expect(after.status == 0 && after.digest != nil, "\(after)")
    }

    @Test func anExportIsRefusedWhereARunIsAtWork() throws {
        let directory = try TemporaryDirectory()
        try write((0..<60).map { "line \($0) of a text\n" }.joined(), to: directory("text"))
        let text = ["train", "text", "--data", directory("text"), "--layers", "1", "--embedding", "8", "--heads", "1", "--context", "8"]
        _ = try startLockstep(text + ["--steps", "1", "--out", directory("text-run")]).ended()
        let run = try job(directory)
        try expectRefusal(lockstep("export", "--checkpoint", directory("text-run"), "--out", directory("run")), directory, by: nil)
        #expect(!entries(below: directory("run")).contains("config.json"))
        kill(run.pid, SIGINT)
        _ = try run.ended()
    }

    /// The first rank is lost, and another becomes the one that writes.
    @Test func theNextWriterTakesTheLock() throws {
        let directory = try TemporaryDirectory()
        let run = try job(directory, workers: 2)
        let first = try #require(Int32(contents(of: directory("run/job.lock")).prefix { $0.isNumber }))
        #expect(run.killChild(first))
        let other = try #require(run.children.first { $0 != first && variable("RANK", of: $0) == "1" })
        #expect(wait { contents(of: directory("run/job.lock")).hasPrefix("\(other) ") }, "\(run.errors)")
        let train = DirectoryLockTests.task + ["--steps", "10000000", "--out", directory("run"), "--resume"]
        try expectRefusal(startLockstep(train).ended(), directory, by: other)
        let before = Set(checkpoints(directory))
        #expect(wait { !before.isSuperset(of: checkpoints(directory)) })
        kill(run.pid, SIGINT)
        #expect(try run.ended().status == 130, "\(run.output)\(run.errors)")
    }

    // MARK: File systems without locks

    /// A library in which flock(2) fails as it does on some network file systems.
    private func withoutLocks(_ code: String, in directory: TemporaryDirectory) throws -> [String: String] {
        let source = "#include <errno.h>\nint flock(int descriptor, int operation) { errno = \(code); return -1; }\n"
        try write(source, to: directory("locks.c"))
        let made = try Started("/bin/sh", ["-c", "cc -shared -fPIC -o \(directory("locks.so")) \(directory("locks.c"))"]).ended()
        try #require(made.status == 0, "\(made.errors)")
        return ["LD_PRELOAD": directory("locks.so")]
    }

    static let hasCompiler = (try? Started("/bin/sh", ["-c", "cc --version"]).end()) == 0

    @Test(.enabled(if: hasCompiler, "needs a C compiler"), arguments: ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "ENOTSUP"])
    func aFileSystemWithoutLocksIsSaidOnce(code: String) throws {
        let directory = try TemporaryDirectory()
        let environment = try withoutLocks(code, in: directory)
        let whole = try startLockstep(DirectoryLockTests.task + ["--steps", "6"]).ended()
        let train = DirectoryLockTests.task + ["--steps", "6", "--checkpoint-every", "2"]
        for (number, command) in [train + ["-n", "2"], ["run", "-n", "2", "--", try built("lockstep")] + train].enumerated() {
            let ended = try startLockstep(command + ["--out", directory("run\(number)"), "--metrics", directory("metrics\(number)")], environment: environment)
                .ended()
            #expect(ended.status == 0 && ended.errors.contains("has no locks") && ended.errorLines.count == 1, "\(ended)")
            #expect(ended.output.contains(whole.digest ?? "none"), "\(ended)")
            #expect(entries(below: directory("run\(number)/checkpoints")).contains("step-00000006/manifest.json"))
        }
        let job = try startLockstep(
            DirectoryLockTests.task + ["--steps", "10000000", "--out", directory("job"), "-n", "2"], environment: environment)
        #expect(wait { JobDirectory.read(directory("job"))?.workers.allSatisfy { $0.state == .running } == true })
        let status = try lockstep("status", "--out", directory("job"), environment: environment)
        #expect(status.output.hasPrefix("running"), "\(status)")
        kill(job.pid, SIGINT)
        #expect(try job.ended().status == 130)
    }
}
