import Glibc
import Testing

/// Where nothing can be written, and checkpoints that cannot be used.
@Suite(.serialized) struct BadOutputTests {
    static let task = ["train", "digits", "--hidden", "16", "--steps", "4", "--decay-steps", "8"]

    /// The lines of a run that failed in rank 0: what it said, and with a launcher whom that names.
    static func expectFailure(_ ended: Ended, workers: Int, _ parts: [String], sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(ended.status == 1 && ended.digest == nil, "\(ended.errors)", sourceLocation: sourceLocation)
        #expect(ended.errorLines.count == (workers == 1 ? 1 : 2), "\(ended.errors)", sourceLocation: sourceLocation)
        #expect(parts.allSatisfy { ended.errorLines.first?.contains($0) == true }, "\(ended.errors)", sourceLocation: sourceLocation)
        guard workers > 1 else { return }
        #expect(ended.errorLines.last?.hasPrefix("lockstep: rank 0 (pid ") == true, "\(ended.errors)", sourceLocation: sourceLocation)
    }

    @Test(arguments: [1, 3])
    func anOutputBelowAFile(workers: Int) throws {
        let out = packageRoot + "/README.md/run"
        let ended = try startLockstep(BadOutputTests.task + ["--out", out, "-n", "\(workers)"]).ended()
        // The launcher finds out, before there are workers.
        BadOutputTests.expectFailure(ended, workers: 1, [out, "not a directory"])
        #expect(ended.output.isEmpty)
    }

    @Test(arguments: [1, 3])
    func metricsThatCannotBeOpened(workers: Int) throws {
        for path in ["/nowhere/metrics", "/"] {
            let ended = try startLockstep(BadOutputTests.task + ["--metrics", path, "-n", "\(workers)"]).ended()
            BadOutputTests.expectFailure(ended, workers: workers, [path, "metrics file"])
            #expect(ended.output.isEmpty)
        }
    }

    @Test(.enabled(if: SmallDisk.canBeMounted, "mounting a small file system needs root"), arguments: [1, 3])
    func aFullDisk(workers: Int) throws {
        let disk = try SmallDisk(bytes: 64 << 10)
        let ended = try startLockstep(
            ["train", "digits", "--hidden", "512", "--steps", "4", "--out", disk.path + "/run", "-n", "\(workers)"]
        ).ended()
        BadOutputTests.expectFailure(ended, workers: workers, [disk.path, "No space left", "free some space"])
        // What tells of the job was written while there was room.
        #expect(entries(below: disk.path) == ["run", "run/checkpoints", "run/job.json", "run/job.lock"])
    }

    @Test(.enabled(if: SmallDisk.canBeMounted, "mounting a small file system needs root"))
    func aDiskThatFillsUpKeepsTheLastCheckpoint() throws {
        // A checkpoint of the digits' model with 32 hidden units takes about 22 KB: the disk holds two.
        let disk = try SmallDisk(bytes: 64 << 10)
        let task = ["train", "digits", "--hidden", "32", "--decay-steps", "8", "--out", disk.path + "/run"]
        let ended = try startLockstep(task + ["--steps", "8", "--checkpoint-every", "1"]).ended()
        // Each that could not be written is named; the run goes on, and ends with an error because the last is among them.
        #expect(ended.status == 1 && ended.digest == nil && ended.errorLines.count > 1, "\(ended.errors)")
        #expect(ended.errorLines.allSatisfy { $0.contains("No space left") }, "\(ended.errors)")
        #expect(ended.errorLines.dropLast().allSatisfy { $0.contains("the run goes on, and tries again") }, "\(ended.errors)")
        #expect(ended.output.contains("step 8/8"))
        let names = entries(below: disk.path + "/run/checkpoints").filter { !$0.contains("/") }
        #expect(!names.isEmpty && names.allSatisfy { $0.hasPrefix("step-") }, "\(names)")
        let listed = try lockstep("inspect", disk.path + "/run")
        #expect(listed.status == 0 && listed.digest != nil)
    }

    @Test(.enabled(if: SmallDisk.canBeMounted, "mounting a read-only file system needs root"))
    func aReadOnlyFileSystem() throws {
        let disk = try SmallDisk(bytes: 64 << 10, isReadOnly: true)
        let ended = try startLockstep(BadOutputTests.task + ["--out", disk.path + "/run"]).ended()
        BadOutputTests.expectFailure(ended, workers: 1, [disk.path, "read-only"])
    }

    @Test(arguments: [1, 3])
    func aCheckpointThatIsNotThere(workers: Int) throws {
        let directory = try TemporaryDirectory()
        let ended = try startLockstep(BadOutputTests.task + ["--out", directory("run"), "--resume", "-n", "\(workers)"]).ended()
        BadOutputTests.expectFailure(ended, workers: workers, [directory("run"), "no checkpoint"])
        #expect(entries(below: directory.path).isEmpty)
    }

    /// A run of four steps, and what becomes of a resumed one.
    static func resumed(_ flags: [String], change: (_ checkpoint: String) throws -> Void = { _ in }) throws -> (Ended, unchanged: Bool) {
        let directory = try TemporaryDirectory()
        let first = try startLockstep(task + ["--out", directory("run")]).ended()
        try #require(first.status == 0, "\(first.errors)")
        try change(directory("run/checkpoints/step-00000004"))
        let before = entries(below: directory.path)
        let ended = try startLockstep(task + ["--out", directory("run")] + flags).ended()
        return (ended, entries(below: directory.path) == before)
    }

    @Test func anotherRunsDirectory() throws {
        let (ended, unchanged) = try BadOutputTests.resumed([])
        BadOutputTests.expectFailure(ended, workers: 1, ["has checkpoints already", "--resume"])
        #expect(unchanged && ended.output.isEmpty)
    }

    @Test(arguments: [
        (["--hidden", "17"], "model"), (["--learning-rate", "0.2"], "learning_rate"), (["--seed", "2"], "seed"),
        (["--optimizer", "adamw"], "optimizer"), (["--micro-batch-size", "4"], "micro_batch_size"), (["--steps", "2"], "raise --steps"),
        (["--dropout", "0.1"], "model"), (["--reduction", "fp32"], "reduction"), (["--decay-steps", "9"], "decay"),
    ])
    func aCheckpointOfAnotherRun(flags: [String], named: String) throws {
        for workers in [1, 2] {
            let (ended, unchanged) = try BadOutputTests.resumed(["--resume", "-n", "\(workers)"] + flags)
            BadOutputTests.expectFailure(ended, workers: workers, ["step-00000004", named])
            #expect(unchanged && ended.output.isEmpty)
        }
    }

    @Test(arguments: ["weights.safetensors", "optimizer.safetensors", "manifest.json"], ["cut", "flipped", "missing"])
    func aDamagedCheckpoint(file: String, damage: String) throws {
        let (ended, unchanged) = try BadOutputTests.resumed(["--resume", "--steps", "5"]) { checkpoint in
            let path = checkpoint + "/" + file
            var all = bytes(of: path)
            switch damage {
            case "cut": try write(all.dropLast(4), to: path)
            case "flipped":
                all[all.count / 2] ^= 4
                try write(all, to: path)
            default: unlink(path)
            }
        }
        BadOutputTests.expectFailure(ended, workers: 1, [file])
        #expect(unchanged && ended.output.isEmpty)
    }

    @Test func beforeADamagedCheckpointAnOlderOneIsTaken() throws {
        let directory = try TemporaryDirectory()
        let task = BadOutputTests.task + ["--out", directory("run"), "--checkpoint-every", "2"]
        let whole = try startLockstep(task).ended()
        try write([0], to: directory("run/checkpoints/step-00000004/weights.safetensors"))
        let again = try startLockstep(task + ["--resume"]).ended()
        #expect(again.status == 0 && again.digest != nil && again.digest == whole.digest)
        #expect(again.errorLines.count == 1 && again.errors.contains("an older checkpoint is taken"), "\(again.errors)")
        // And the damaged one is whole again.
        #expect(try lockstep("inspect", directory("run")).errors.isEmpty)
    }

    @Test func aMetricsFileThatIsNone() throws {
        let directory = try TemporaryDirectory()
        _ = try startLockstep(BadOutputTests.task + ["--out", directory("run")]).ended()
        try write("my notes\n", to: directory("notes"))
        let ended = try startLockstep(
            BadOutputTests.task + ["--steps", "5", "--out", directory("run"), "--resume", "--metrics", directory("notes")]
        ).ended()
        BadOutputTests.expectFailure(ended, workers: 1, [directory("notes"), "not a metrics file"])
        #expect(contents(of: directory("notes")) == "my notes\n")
    }
}

/// A file system in memory that is soon full.
struct SmallDisk {
    private let directory: TemporaryDirectory
    var path: String { directory.path }

    init(bytes: Int, isReadOnly: Bool = false) throws {
        directory = try TemporaryDirectory()
        try #require(SmallDisk.mount(directory.path, bytes, isReadOnly))
    }

    /// Takes up what is free, but for so many bytes, until that is given back.
    func fill(leaving bytes: Int = 0) throws {
        let file = try #require(fopen(filler, "a"))
        defer { fclose(file) }
        var status = statvfs()
        try #require(statvfs(path, &status) == 0)
        let count = max(0, Int(status.f_bavail) * Int(status.f_frsize) - bytes)
        let zeros = [UInt8](repeating: 0, count: count)
        // Less, where a run has been quicker: then the disk is full all the same.
        fwrite(zeros, 1, count, file)
    }

    func makeRoom() { unlink(filler) }

    private var filler: String { path + "/filler" }

    static let canBeMounted: Bool = {
        guard geteuid() == 0, let directory = try? TemporaryDirectory() else { return false }
        return mount(directory.path, 1 << 16, false)
    }()

    private static func mount(_ path: String, _ bytes: Int, _ isReadOnly: Bool) -> Bool {
        "size=\(bytes)".withCString { Glibc.mount("tmpfs", path, "tmpfs", isReadOnly ? UInt(MS_RDONLY) : 0, $0) } == 0
    }
}
