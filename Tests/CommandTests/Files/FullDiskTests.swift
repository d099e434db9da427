import Glibc
import Launching
import Testing

/// Disks that are full for a while, under a run that has begun: who only watches it never ends it, and what was lost is told.
@Suite(.serialized, .enabled(if: SmallDisk.canBeMounted, "mounting a small file system needs root"))
struct FullDiskTests {
    static let task = ["train", "digits", "--hidden", "16", "--decay", "constant"]

    /// A run that trains until it is told to stop.
    static func endless(_ flags: [String]) throws -> Started {
        try startLockstep(task + ["--steps", "10000000"] + flags)
    }

    /// The steps in a metrics file, all of whose lines are whole.
    static func steps(_ path: String) -> [Int] {
        let text = contents(of: path)
        #expect(text.isEmpty || text.hasSuffix("}\n"))
        return text.split(separator: "\n").map { line in
            #expect(line.hasPrefix("{\"step\":") && line.hasSuffix("}"), "\(line)")
            return Int(line.dropFirst(8).prefix { $0.isNumber }) ?? -1
        }
    }

    @Test(arguments: [1, 2]) func metricsOnAFullDisk(workers: Int) throws {
        let disk = try SmallDisk(bytes: 64 << 10)
        try disk.fill(leaving: 4096)
        let whole = try startLockstep(FullDiskTests.task + ["--steps", "40"]).ended()
        let ended = try startLockstep(
            FullDiskTests.task + ["--steps", "40", "--metrics", disk.path + "/metrics", "-n", "\(workers)"]
        ).ended()
        #expect(ended.status == 0 && ended.digest != nil && ended.digest == whole.digest, "\(ended)")
        #expect(ended.errorLines.count == 1 && ended.errors.contains("No space left"), "\(ended.errors)")
        #expect(ended.errors.contains("the run goes on, and tries again"), "\(ended.errors)")
        let steps = FullDiskTests.steps(disk.path + "/metrics")
        #expect(!steps.isEmpty && steps.count < 40 && steps == Array(1...steps.count))
    }

    @Test func metricsGoOnWhereThereIsRoomAgain() throws {
        let disk = try SmallDisk(bytes: 1 << 20)
        try disk.fill(leaving: 4096)
        let metrics = disk.path + "/metrics"
        let run = try FullDiskTests.endless(["--metrics", metrics])
        #expect(wait { run.errors.contains("No space left") })
        disk.makeRoom()
        #expect(wait { run.errors.contains("is written again") })
        kill(run.pid, SIGINT)
        let ended = try run.ended()
        #expect(ended.status == 75 && ended.errorLines.count <= 4, "\(ended)")
        let steps = FullDiskTests.steps(metrics)
        // Every step is in it, unless more were made in the meantime than are remembered, which is said.
        let gaps = zip(steps, steps.dropFirst()).filter { $1 != $0 + 1 }
        #expect(gaps.isEmpty || ended.errors.contains("steps \(gaps[0].0 + 1) to \(gaps[0].1 - 1) are missing"), "\(gaps) \(ended.errors)")
    }

    /// The file goes away and the disk with it: what is there in the end is what was written last.
    @Test(arguments: [1, 3]) func checkpointsAreTriedAgainWhenTheNextIsDue(workers: Int) throws {
        let directory = try TemporaryDirectory()
        let disk = try SmallDisk(bytes: 256 << 10)
        let flags = ["--checkpoint-every", "1", "--keep-checkpoints", "2", "-n", "\(workers)"]
        let run = try FullDiskTests.endless(["--out", disk.path + "/run", "--metrics", directory("metrics")] + flags)
        // Older ones are removed at once: which one is there when the test looks, nobody knows.
        #expect(wait { newest(disk.path + "/run") >= 3 })
        // Again and again: a checkpoint that was under way makes room when it takes the place of an older one.
        let isSaid = try wait {
            try disk.fill()
            return run.errors.contains("was not written")
        }
        #expect(isSaid, "\(run.errors)")
        disk.makeRoom()
        // A later one than those that were named.
        let (before, named) = (newest(disk.path + "/run"), run.errors.split(separator: "\n").count)
        #expect(wait { newest(disk.path + "/run") > before + named })
        kill(run.pid, SIGINT)
        let ended = try run.ended()
        #expect(ended.status == 130, "\(ended)")
        #expect(ended.errors.contains("No space left") && ended.output.contains("--resume goes on from there"), "\(ended)")
        let resumed = try startLockstep(
            FullDiskTests.task + ["--steps", "\(newest(disk.path + "/run") + 1)", "--out", disk.path + "/run", "--resume"]
        ).ended()
        #expect(resumed.status == 0 && resumed.digest != nil, "\(resumed)")
    }

    private func newest(_ run: String) -> Int {
        entries(below: run + "/checkpoints").filter { $0.hasSuffix("manifest.json") && $0.hasPrefix("step-") }.last
            .flatMap { Int($0.dropFirst(5).prefix(8)) } ?? 0
    }

    @Test func theLastCheckpointDecidesHowTheRunEnds() throws {
        let directory = try TemporaryDirectory()
        let disk = try SmallDisk(bytes: 256 << 10)
        let run = try FullDiskTests.endless(["--out", disk.path + "/run", "--metrics", directory("metrics")])
        #expect(wait { !contents(of: directory("metrics")).isEmpty })
        try disk.fill()
        kill(run.pid, SIGINT)
        let ended = try run.ended()
        #expect(ended.status == 1 && ended.errors.contains("No space left"), "\(ended)")
    }

    @Test func aLimitOnTheSizeOfFilesIsAFullDisk() throws {
        let directory = try TemporaryDirectory()
        // In blocks of 512 bytes: 2 KiB are enough for what tells of the job, and not for a checkpoint, nor for all records.
        let script = "ulimit -f 4; exec \"$0\" \"$@\""
        let ended = try Started(
            "/bin/sh",
            ["-c", script, built("lockstep")] + FullDiskTests.task
                + ["--steps", "40", "--metrics", directory("metrics"), "--out", directory("run"), "--checkpoint-every", "10"]
        ).ended()
        #expect(ended.status == 1 && ended.errorLines.allSatisfy { $0.contains("File too large") }, "\(ended)")
        #expect(ended.errorLines.count == 5 && ended.output.contains("step 40/40"), "\(ended)")
        let steps = FullDiskTests.steps(directory("metrics"))
        #expect(!steps.isEmpty && steps == Array(1...steps.count))
    }

    @Test func logsOnAFullDisk() throws {
        let directory = try TemporaryDirectory()
        let disk = try SmallDisk(bytes: 64 << 10)
        try disk.fill(leaving: 4096)
        // Lines of 50 bytes: 82 are more than a page.
        let script = """
            i=100; while [ $i -lt 200 ]; do echo "line $i ........................................"; i=$((i+1)); done
            while [ ! -e \(directory("go")) ]; do sleep 0.01; done; echo last; sleep 0.1; echo very last
            """
        let run = try startLockstep(["run", "--log-dir", disk.path, "--", "/bin/sh", "-c", script])
        #expect(wait { run.errors.contains("rank-0.log cannot be written") }, "\(run.errors)")
        disk.makeRoom()
        try write("", to: directory("go"))
        let ended = try run.ended()
        // The program is none of Lockstep's, which is what the status is about.
        #expect(ended.output.contains("line 199 ") && ended.output.contains("very last"), "\(ended)")
        #expect(ended.errorLines.filter { $0.contains("cannot be written") }.count == 1, "\(ended.errors)")
        // Whole lines; where some are missing, which may go on after there is room again, it is said, and nowhere else.
        let log = contents(of: disk.path + "/rank-0.log").split(separator: "\n")
        var expected = 100
        var gaps = 0
        for (index, line) in log.enumerated() {
            if line.contains("lines are missing here") {
                gaps += 1
            } else if line.hasPrefix("line ") {
                let number = line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
                let isAfterGap = index > 0 && log[index - 1].contains("lines are missing here")
                #expect(line.utf8.count == 49 && (isAfterGap ? number > expected : number == expected), "\(line): \(log)")
                expected = number + 1
            }
        }
        #expect(gaps >= 1 && log.suffix(2) == ["last", "very last"], "\(log.suffix(4))")
    }

    @Test func theJobsRecordOnAFullDisk() throws {
        let directory = try TemporaryDirectory()
        let disk = try SmallDisk(bytes: 64 << 10)
        let script = "while [ ! -e \(directory("go")) ]; do sleep 0.01; done; kill -9 $$"
        let run = try startLockstep(["run", "-n", "2", "--max-restarts", "1", "--job-dir", disk.path, "--", "/bin/sh", "-c", script])
        #expect(wait { JobDirectory.read(disk.path)?.workers.count == 2 })
        try disk.fill()
        try write("", to: directory("go"))
        let ended = try run.ended()
        #expect(ended.errors.contains("cannot write \(disk.path)/job.json"), "\(ended.errors)")
        #expect(ended.status == 137, "\(ended)")
    }
}
