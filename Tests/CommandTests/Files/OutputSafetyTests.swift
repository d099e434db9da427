import Glibc
import Launching
import Testing

/// What is not a run's own is neither emptied, replaced nor removed by it, whatever path it is given.
@Suite(.serialized) struct OutputSafetyTests {
    static let task = ["train", "digits", "--hidden", "16", "--steps", "4", "--decay-steps", "8"]

    // MARK: Metrics

    enum Kind: CaseIterable {
        case notes, unfinishedLine, othersRecords, binary, symbolicLink, linkToNowhere, hardLink, pipe, device, directory, socket
    }

    /// Makes something at a path; gives the file whose bytes must stay, if there is one.
    private func make(_ kind: Kind, _ path: String, _ directory: TemporaryDirectory) throws -> String? {
        let other = directory("other")
        switch kind {
        case .notes: try write("my notes\n", to: path)
        case .unfinishedLine: try write("my notes", to: path)
        case .othersRecords: try write("{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":2.25}\n", to: path)
        case .binary: try write((0...255).map { UInt8($0) }, to: path)
        case .symbolicLink, .hardLink:
            _ = try startLockstep(OutputSafetyTests.task + ["--metrics", other]).ended()
            try #require(kind == .hardLink ? link(other, path) == 0 : symlink(other, path) == 0)
            return other
        case .linkToNowhere: symlink(directory("nowhere"), path)
        case .pipe: mkfifo(path, 0o600)
        case .device: symlink("/dev/null", path)
        case .directory: mkdir(path, 0o700)
        case .socket: mknod(path, S_IFSOCK | 0o600, 0)
        }
        return [.notes, .unfinishedLine, .othersRecords, .binary].contains(kind) ? path : nil
    }

    @Test(arguments: Kind.allCases) func metricsThatAreNoneOfOurs(kind: Kind) throws {
        let directory = try TemporaryDirectory()
        let path = directory("metrics")
        let kept = try make(kind, path, directory)
        let before = kept.map(bytes)
        _ = try startLockstep(OutputSafetyTests.task + ["--out", directory("run")]).ended()
        // With two workers the launcher names the one that refuses, too.
        let resumed = ["--out", directory("run"), "--resume", "--steps", "5"]
        for flags in kind == .notes ? [[], ["--overwrite-metrics"], resumed, ["-n", "2"]] : [["--overwrite-metrics"], resumed] {
            let ended = try startLockstep(
                OutputSafetyTests.task.filter { flags.contains("--steps") ? $0 != "--steps" && $0 != "4" : true } + flags
                    + ["--metrics", kind == .device ? "/dev/null" : path]
            ).ended()
            #expect(ended.status == 1 && ended.output.isEmpty, "\(kind) \(flags): \(ended)")
            #expect(ended.errorLines.count == (flags == ["-n", "2"] ? 2 : 1) && ended.errorLines.first?.contains("metrics") == true, "\(ended.errors)")
            #expect(kept.map(bytes) == before)
        }
        #expect(!entries(below: directory.path).contains("nowhere"))
    }

    @Test func anotherRunsMetricsAreReplacedOnRequestOnly() throws {
        let directory = try TemporaryDirectory()
        let flags = OutputSafetyTests.task + ["--metrics", directory("metrics")]
        _ = try startLockstep(flags).ended()
        let first = contents(of: directory("metrics"))
        let refused = try startLockstep(flags).ended()
        #expect(refused.status == 1 && refused.output.isEmpty && refused.errorLines.count == 1, "\(refused)")
        #expect(refused.errors.contains("--overwrite-metrics") && refused.errors.contains("--resume"), "\(refused.errors)")
        #expect(contents(of: directory("metrics")) == first && FullDiskTests.steps(directory("metrics")) == [1, 2, 3, 4])
        let replaced = try startLockstep(flags + ["--overwrite-metrics", "--steps", "3"]).ended()
        #expect(replaced.status == 0 && FullDiskTests.steps(directory("metrics")) == [1, 2, 3], "\(replaced)")
    }

    @Test func metricsThatTheRunReads() throws {
        let directory = try TemporaryDirectory()
        let long = ["train", "digits", "--hidden", "16", "--steps", "40", "--metrics", directory("metrics")]
        _ = try startLockstep(long).ended()
        let before = contents(of: directory("metrics"))
        symlink(directory("metrics"), directory("link"))
        for data in [directory("metrics"), directory("link"), directory.path + "/./metrics"] {
            let ended = try lockstep("train", "text", "--data", data, "--metrics", directory("metrics"), "--overwrite-metrics")
            #expect(ended.status == 2 && ended.errorLines.count == 1 && ended.errors.contains("the file of --data"), "\(ended)")
        }
        #expect(contents(of: directory("metrics")) == before)
    }

    @Test(arguments: ["job.json", "job.lock", "job.secret", "checkpoints"]) func metricsUnderANameThatTheRunNeeds(name: String) throws {
        let directory = try TemporaryDirectory()
        for out in ["run", "there", "there/"] {
            mkdir(directory("there"), 0o700)
            let metrics = out == "run" ? directory("run//" + name) : directory("./there/" + name)
            let ended = try startLockstep(OutputSafetyTests.task + ["--out", directory(out), "--metrics", metrics]).ended()
            #expect(ended.status == 2 && ended.errorLines.count == 1, "\(ended)")
            #expect(entries(below: directory.path) == ["there"])
        }
    }

    // MARK: Directories of jobs

    @Test(arguments: ["job.json", "job.lock", "job.secret"], ["notes", "link", "directory", "pipe"])
    func filesOfAJobsNames(name: String, kind: String) throws {
        for command in [OutputSafetyTests.task + ["--out"], ["run", "--", "true", "--job-dir"]] {
            let directory = try TemporaryDirectory()
            mkdir(directory("run"), 0o700)
            let path = directory("run/" + name)
            try write("my notes\n", to: directory("notes"))
            switch kind {
            case "notes": try write("my notes\n", to: path)
            case "link": symlink(directory("notes"), path)
            case "pipe": mkfifo(path, 0o600)
            default: mkdir(path, 0o700)
            }
            let flags = command.first == "run" ? ["run", "--job-dir", directory("run"), "--", "true"] : command + [directory("run")]
            let ended = try startLockstep(flags).ended()
            #expect(ended.status == 1 && ended.errorLines.count == 1 && ended.errors.contains(path), "\(ended)")
            #expect(contents(of: directory("notes")) == "my notes\n")
            if kind == "notes" { #expect(contents(of: path) == "my notes\n") }
            #expect(entries(below: directory("run")).allSatisfy { [name, "job.lock"].contains($0) })
        }
    }

    /// What a run of before left behind is its own, be it half a file after a loss of power.
    @Test func whatAJobLeftBehindIsTakenOver() throws {
        let directory = try TemporaryDirectory()
        mkdir(directory("run"), 0o700)
        try write("", to: directory("run/job.json"))
        try write([UInt8](repeating: 0, count: 65), to: directory("run/job.secret"))
        try write("", to: directory("run/job.lock"))
        #expect(try startLockstep(OutputSafetyTests.task + ["--out", directory("run")]).ended().status == 0)
        let again = OutputSafetyTests.task.dropLast(3) + ["5", "--decay-steps", "8", "--out", directory("run"), "--resume"]
        #expect(try startLockstep(Array(again)).ended().status == 0)
    }

    // MARK: Logs

    @Test func logsThatAreThereAlready() throws {
        let directory = try TemporaryDirectory()
        let flags = ["--log-dir", directory("logs"), "--", "/bin/sh", "-c", "echo new"]
        mkdir(directory("logs"), 0o700)
        try write("old\n", to: directory("logs/rank-1.log"))
        let refused = try startLockstep(["run", "-n", "2"] + flags).ended()
        #expect(refused.status == 1 && refused.errorLines.count == 1 && refused.errors.contains("--overwrite-logs"), "\(refused)")
        #expect(contents(of: directory("logs/rank-1.log")) == "old\n")
        _ = try startLockstep(["run", "-n", "2", "--overwrite-logs"] + flags).ended()
        #expect(contents(of: directory("logs/rank-1.log")) == "new\n")
    }

    @Test(arguments: ["symbolic", "hard", "nowhere", "pipe", "directory"]) func logsThatLeadElsewhere(kind: String) throws {
        let directory = try TemporaryDirectory()
        mkdir(directory("logs"), 0o700)
        try write("", to: directory("other"))
        let path = directory("logs/rank-0.log")
        switch kind {
        case "symbolic": symlink(directory("other"), path)
        case "hard": try #require(link(directory("other"), path) == 0)
        case "nowhere": symlink(directory("nowhere"), path)
        case "pipe": mkfifo(path, 0o600)
        default: mkdir(path, 0o700)
        }
        for flags in [[], ["--overwrite-logs"]] {
            let ended = try startLockstep(["run", "--log-dir", directory("logs")] + flags + ["--", "echo", "new"]).ended()
            #expect(ended.status == 1 && ended.errorLines.count == 1 && ended.errors.contains(path), "\(ended)")
        }
        #expect(contents(of: directory("other")).isEmpty && !entries(below: directory.path).contains("nowhere"))
    }

    // MARK: Exports

    @Test(arguments: ["config.json", "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"])
    func exportsBesideAModel(name: String) throws {
        let directory = try TemporaryDirectory()
        let text = (0..<60).map { "line \($0) of a text\n" }.joined()
        try write(text, to: directory("text"))
        let run = try startLockstep(
            ["train", "text", "--data", directory("text"), "--steps", "1", "--layers", "1", "--embedding", "8", "--heads", "1", "--context", "8"]
                + ["--out", directory("run")]
        ).ended()
        try #require(run.status == 0, "\(run.errors)")
        mkdir(directory("out"), 0o700)
        symlink(directory("nowhere"), directory("out/" + name))
        let refused = try lockstep("export", "--checkpoint", directory("run"), "--out", directory("out"))
        #expect(refused.status == 1 && refused.errorLines.count == 1 && refused.errors.contains("out/" + name), "\(refused)")
        #expect(entries(below: directory("out")) == [name])
        unlink(directory("out/" + name))
        #expect(try lockstep("export", "--checkpoint", directory("run"), "--out", directory("out")).status == 0)
        #expect(entries(below: directory("out")) == ["config.json", "model.safetensors"])
    }
}
