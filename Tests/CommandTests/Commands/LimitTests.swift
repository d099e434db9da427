import Glibc
import TestSupport
import Testing

/// What a shell, a container or an administrator may deny a process: descriptors, memory, threads, room in files.
@Suite(.serialized) struct LimitTests {
    /// Runs the command from a shell that has done something before.
    static func run(_ before: String, _ arguments: [String], redirections: String = "") throws -> Ended {
        let words = try ([built("lockstep")] + arguments).map { "'\($0)'" }.joined(separator: " ")
        return try Started("/bin/sh", ["-c", "\(before); exec \(words) \(redirections)"]).ended(within: .seconds(120))
    }

    // MARK: Standard descriptors

    private static let closings = [
        "<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-",
    ]

    /// Whatever is closed, a command does the same as with all open, and nothing that it prints ends up in a file.
    @Test(arguments: closings) func closedStandardDescriptors(closing: String) throws {
        let directory = try TemporaryDirectory()
        try write(String(repeating: "the quick brown fox jumps over the lazy dog. ", count: 400), to: directory("text"))
        let metrics = directory("metrics.jsonl")
        let run = ["--steps", "3", "--out", directory("run"), "--metrics", metrics]
        let model = ["train", "text", "--data", directory("text"), "--layers", "1", "--embedding", "16", "--heads", "1"]
        let checkpoint = ["--checkpoint", directory("run")]
        let commands = try [
            model + run,
            ["train", "digits", "--hidden", "16", "--steps", "3", "-n", "2", "--metrics", directory("other.jsonl")],
            ["run", "-n", "2", "--log-dir", directory("logs"), "--", built("Spirals")],
            ["check", "-n", "2", "--largest", "4K"], ["bench", "-n", "2", "--sizes", "1K", "--rounds", "2"],
            ["eval", "--data", directory("text")] + checkpoint,
            ["generate", "--prompt", "the", "--tokens", "5"] + checkpoint, ["inspect", directory("run")],
            ["status", "--out", directory("run")],
        ]
        for command in commands {
            let ended = try LimitTests.run(":", command, redirections: closing)
            #expect(ended.status == 0, "\(command): \(ended.errors)\(ended.output)")
        }
        // Asks for what is not there: the message is lost where standard error is, and the status is not.
        #expect(try LimitTests.run(":", ["scale", "-n", "2", "--out", directory("run")], redirections: closing).status == 1)
        for path in [metrics, directory("other.jsonl")] {
            let lines = contents(of: path).split(separator: "\n")
            #expect(lines.count == 3 && lines.allSatisfy { $0.hasPrefix("{") && $0.hasSuffix("}") }, "\(lines)")
        }
    }

    /// A program of one's own, too.
    @Test(arguments: closings) func closedInAProgramOnTheLibrary(closing: String) throws {
        let script = try "exec \(built("Spirals")) \(closing)"
        let alone = try Started("/bin/sh", ["-c", script]).ended()
        #expect(alone.status == 0 && (closing.contains(" >&-") || closing.hasPrefix(">&-") || alone.digest != nil), "\(alone)")
    }

    // MARK: Descriptors

    @Test func tooFewDescriptorsAreNamedBeforeAnythingStarts() throws {
        for command in [["check", "-n", "16"], ["train", "digits", "-n", "16"], ["bench", "-n", "16"]] {
            let ended = try LimitTests.run("ulimit -n 60", command)
            #expect(ended.status == 1 && ended.errorLines.count == 1, "\(ended.errors)")
            #expect(ended.errors.contains("a launcher of 16 workers needs ") && ended.errors.contains("the limit is 60"), "\(ended.errors)")
            #expect(!ended.errors.contains("secret"))
        }
    }

    @Test func theSoftLimitIsRaised() throws {
        let ended = try LimitTests.run("ulimit -S -n 40", ["check", "-n", "16", "--largest", "4K"])
        #expect(ended.status == 0, "\(ended.errors)")
        // As many as it said that it needs are enough.
        let refused = try LimitTests.run("ulimit -n 20", ["check", "-n", "6", "--largest", "4K"])
        let words = refused.errors.split(separator: " ")
        let needed = try #require(words.firstIndex(of: "needs").flatMap { Int(words[$0 + 1]) }, "\(refused.errors)")
        let enough = try LimitTests.run("ulimit -n \(needed)", ["check", "-n", "6", "--largest", "4K"])
        #expect(enough.status == 0, "\(enough.errors)")
    }

    @Test func aWorkerByHandNamesThemToo() throws {
        var environment = try ByHandTests.environments(200, port: freePort())[0]
        environment["LOCKSTEP_TIMEOUT"] = "2"
        let script = try "ulimit -n 100; exec \(built("lockstep")) train digits --hidden 16"
        let ended = try Started("/bin/sh", ["-c", script], environment: environment).ended()
        #expect(ended.status == 1 && ended.errorLines.count == 1 && ended.errors.contains("the limit is 100"), "\(ended.errors)")
    }

    // MARK: Room in files

    /// SIGXFSZ is an error of a write like any other.
    @Test(arguments: [1, 2]) func aFileThatMayNotGrow(workers: Int) throws {
        let directory = try TemporaryDirectory()
        let ended = try LimitTests.run(
            "ulimit -f 40",
            ["train", "digits", "--hidden", "512", "--steps", "4", "--out", directory("run"), "-n", "\(workers)"])
        #expect(ended.status == 1 && ended.errors.contains("File too large"), "\(ended.errors)")
        #expect(!ended.errors.contains("SIGXFSZ"))
    }

    @Test func metricsThatMayNotGrow() throws {
        let directory = try TemporaryDirectory()
        let ended = try LimitTests.run(
            "ulimit -f 1", ["train", "digits", "--hidden", "16", "--steps", "40", "--metrics", directory("m.jsonl"), "-n", "2"])
        #expect(ended.status < 128 && ended.errors.contains("File too large"), "\(ended.errors)")
    }

    // MARK: Memory

    private static let large = ["--layers", "12", "--embedding", "768", "--heads", "12", "--steps", "3", "-n", "2"]

    private static func textTask(_ directory: TemporaryDirectory) throws -> [String] {
        try write(String(repeating: "the quick brown fox jumps over the lazy dog. ", count: 400), to: directory("text"))
        return ["train", "text", "--data", directory("text")]
    }

    @Test func aModelThatAddressesDoNotDoFor() throws {
        let directory = try TemporaryDirectory()
        for limit in ["ulimit -v 1650000", "ulimit -v 1000000", "ulimit -d 800000"] {
            let ended = try LimitTests.run(limit, LimitTests.textTask(directory) + LimitTests.large)
            #expect(ended.status == 1 && ended.errors.contains("a model of 85 million parameters takes 1.7 GB"), "\(ended.errors)")
            #expect(ended.errors.contains(limit.contains("-v") ? "ulimit -v" : "ulimit -d"), "\(ended.errors)")
            #expect(!ended.errors.contains("started again") && !ended.errors.contains("Backtrace"), "\(ended.errors)")
            // One rank says it for all; the launcher names that one.
            #expect(ended.errorLines.count { $0.contains("make the model smaller") } == 1 && ended.errorLines.count <= 2, "\(ended.errors)")
        }
    }

    /// What no estimate has seen coming is a line, too.
    @Test func activationsThatAreNotEstimated() throws {
        let ended = try LimitTests.run(
            "ulimit -v 400000",
            ["train", "digits", "--hidden", "20000", "--micro-batch-size", "1400", "--global-batch-size", "1400", "--steps", "2"])
        #expect(ended.status == 1 && ended.errorLines.count == 1, "\(ended.errors)")
        #expect(ended.errors.contains("out of memory: ") && ended.errors.contains("ulimit -v is 400000 KiB"), "\(ended.errors)")
    }

    @Test(.enabled(if: MemoryGroup.canBeMade, "needs root and a memory cgroup")) func aModelThatTheGroupDoesNotDoFor() throws {
        let directory = try TemporaryDirectory()
        let group = try MemoryGroup(bytes: 300 << 20)
        let ended = try LimitTests.run(
            "echo $$ > \(group.path)/cgroup.procs", LimitTests.textTask(directory) + LimitTests.large + ["--out", directory("run")])
        #expect(ended.status == 1 && ended.errors.contains("a model of 85 million parameters takes "), "\(ended.errors)")
        #expect(ended.errorLines.count { $0.contains("make the model smaller") } == 1, "\(ended.errors)")
        #expect(ended.errors.contains("cgroup") && ended.errors.contains("315 MB") && !ended.errors.contains("SIGKILL"), "\(ended.errors)")
        // What fits is trained.
        let small = try LimitTests.run("echo $$ > \(group.path)/cgroup.procs", ["train", "digits", "--hidden", "16", "--steps", "3", "-n", "2"])
        #expect(small.status == 0, "\(small.errors)")
    }

    // MARK: Stacks

    @Test func aSmallStackIsRaisedOrRefused() throws {
        let raised = try LimitTests.run("ulimit -S -s 64", ["train", "digits", "--hidden", "16", "--steps", "3", "-n", "2"])
        #expect(raised.status == 0, "\(raised.errors)")
        let refused = try LimitTests.run("ulimit -s 64", ["train", "digits", "--hidden", "16", "--steps", "3", "-n", "2"])
        #expect(refused.status == 1 && refused.errorLines.count == 1 && refused.errors.contains("ulimit -s"), "\(refused.errors)")
    }

    /// Threads have stacks of their own size: neither too many addresses nor too few.
    @Test(arguments: ["ulimit -s unlimited; ulimit -v 1000000", "ulimit -s 4000000; ulimit -v 1000000"])
    func aLargeStackCostsNoAddresses(limit: String) throws {
        let ended = try LimitTests.run(limit, ["train", "digits", "--hidden", "16", "--steps", "3", "-n", "2"])
        #expect(ended.status == 0, "\(ended.errors)")
    }

    // MARK: Threads

    /// A user of its own, whom RLIMIT_NPROC holds for as it does not for root.
    @Test(.enabled(if: geteuid() == 0 && access("/usr/bin/setpriv", X_OK) == 0, "needs root and setpriv"), arguments: 1...9)
    func tooFewThreads(limit: Int) throws {
        // The first passes the limit on to a user who has nothing running.
        let words = try "\(built("lockstep")) train digits --hidden 16 --steps 3 -n 2"
        let script = "ulimit -u \(limit); exec setpriv --reuid 31\(limit)17 --regid 31\(limit)17 --clear-groups \(words)"
        let ended = try Started("/bin/bash", ["-c", script], environment: ["HOME": "/"]).ended()
        #expect(ended.status < 128, "\(ended.status): \(ended.errors)")
        #expect(ended.status == 0 || !ended.errors.isEmpty)
        #expect(ended.status == 0 || ended.errors.contains("EAGAIN") || ended.errors.contains("ulimit -u"), "\(ended.errors)")
    }
}

/// A memory cgroup of version 1 or 2, for one test; it goes with it.
final class MemoryGroup {
    let path: String

    private static let parent = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].first {
        access($0 + "/memory.limit_in_bytes", F_OK) == 0 || contents(of: $0 + "/cgroup.subtree_control").contains("memory")
    }

    static var canBeMade: Bool { geteuid() == 0 && parent.map { access($0, W_OK) == 0 } ?? false }

    init(bytes: Int) throws {
        let parent = try #require(MemoryGroup.parent)
        path = "\(parent)/lockstep-test-\(getpid())-\(bytes)"
        try #require(mkdir(path, 0o755) == 0)
        let isVersion1 = access(path + "/memory.limit_in_bytes", F_OK) == 0
        try write("\(bytes)", to: path + (isVersion1 ? "/memory.limit_in_bytes" : "/memory.max"))
    }

    deinit {
        // A group is empty some moments after its last process has ended.
        _ = wait(for: .seconds(5)) { rmdir(path) == 0 }
    }
}
