import Checkpoints
import Glibc
import Testing

/// What users see of the kernels in use, and of the arithmetic that all of them share.
@Suite(.serialized) struct KernelsTests {
    static let names = ["baseline", "avx2", "avx512"]

    private func lockstep(with kernels: String?, _ arguments: String...) throws -> Ended {
        try Started(built("lockstep"), arguments, environment: kernels.map { ["LOCKSTEP_CPU": $0] } ?? [:]).ended()
    }

    /// Those that this CPU has, the best last.
    private func available() throws -> [String] {
        try Self.names.filter { try lockstep(with: $0, "--version").status == 0 }
    }

    @Test func theVersionNamesTheKernels() throws {
        let available = try available()
        #expect(available.first == "baseline")
        for name in available {
            #expect(try lockstep(with: name, "--version").output.contains("kernels: \(name)"))
        }
        let usual = try lockstep(with: nil, "--version")
        #expect(usual.status == 0 && usual.output.contains("arithmetic 1, kernels: \(available.last!)"), "\(usual.output)")
        #expect(try lockstep(with: "", "--version").output == usual.output)
    }

    @Test(arguments: ["sse9", "AVX2", " avx2", "avx2 ", "2", "none"]) func kernelsThatAreNone(name: String) throws {
        for arguments in [["train", "digits", "-n", "2"], ["train", "digits"], ["inspect", "x"], ["--version"]] {
            let ended = try Started(built("lockstep"), arguments, environment: ["LOCKSTEP_CPU": name]).ended()
            expectOneLine(ended, ["LOCKSTEP_CPU", "\"\(name)\"", "baseline, avx2 and avx512"])
        }
        let ended = try Started(built("Spirals"), [], environment: ["LOCKSTEP_CPU": name]).ended()
        expectOneLine(ended, ["LOCKSTEP_CPU", "\"\(name)\""])
    }

    @Test func kernelsThatTheCPULacks() throws {
        let available = try available()
        for name in Self.names where !available.contains(name) {
            expectOneLine(try lockstep(with: name, "train", "digits"), ["LOCKSTEP_CPU", name, "lacks", available.last!])
        }
    }

    /// Whole runs, of all workers or of one among others.
    @Test func aRunHasTheSameDigestWithAnyKernels() throws {
        let flags = ["train", "digits", "--hidden", "24", "--steps", "3"]
        let usual = try startLockstep(flags).ended()
        #expect(usual.status == 0 && usual.digest != nil, "\(usual.errors)")
        for name in try available() {
            for workers in ["1", "3"] {
                let ended = try Started(built("lockstep"), flags + ["-n", workers], environment: ["LOCKSTEP_CPU": name]).ended()
                #expect(ended.status == 0 && ended.errors.isEmpty && ended.digest == usual.digest, "\(name): \(ended.errors)")
            }
        }
    }

    /// Nor does it follow the threads, with which a run may go on in any number.
    @Test func threadsAreNoPartOfTheRecipe() throws {
        let directory = try TemporaryDirectory()
        let flags = ["train", "digits", "--hidden", "24", "--decay-steps", "4", "--out", directory("run")]
        #expect(try startLockstep(flags + ["--steps", "2"]).ended().status == 0)
        let resumed = try startLockstep(flags + ["--steps", "4", "--resume", "--threads-per-worker", "2"]).ended()
        #expect(resumed.status == 0 && resumed.lines.contains("resumed after step 2"), "\(resumed.errors)")
        #expect(try Checkpoint.find(directory("run")).checkpoint.manifest.recipe["threads_per_worker"] == nil)
    }

    // MARK: Checkpoints of another arithmetic

    /// The run's newest checkpoint once more, in a directory of its own, as one of another arithmetic.
    private func copy(_ run: String, arithmetic: Int?, to path: String) throws {
        let checkpoint = try Checkpoint.find(run).checkpoint
        #expect(checkpoint.manifest.arithmetic == 1)
        func stored(_ reader: SafetensorsReader) throws -> [StoredTensor] {
            try reader.tensors.map { info in
                let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, try reader.bytes(info.name).count), alignment: 64)
                let bytes = try reader.bytes(info.name)
                memory.copyBytes(from: bytes)
                return StoredTensor(info: info, bytes: UnsafeRawBufferPointer(rebasing: memory[..<bytes.count]))
            }
        }
        let manifest = checkpoint.manifest
        let state = CheckpointState(
            step: manifest.step, epoch: manifest.epoch, stepInEpoch: manifest.stepInEpoch, recipe: manifest.recipe,
            weights: try stored(checkpoint.weights()), optimizer: try stored(checkpoint.optimizer()), lockstepVersion: "0.0.9",
            arithmetic: arithmetic)
        defer { for tensor in state.weights + state.optimizer { tensor.bytes.deallocate() } }
        _ = try CheckpointDirectory(path).save(state)
    }

    @Test(arguments: [nil, 0, 2]) func aRunOfAnotherArithmeticIsNotResumed(arithmetic: Int?) throws {
        let directory = try TemporaryDirectory()
        try write(String(repeating: "the same bits for any number of workers. ", count: 20), to: directory("text"))
        let flags = [
            "train", "text", "--data", directory("text"), "--layers", "1", "--heads", "2", "--embedding", "8", "--context", "16",
            "--micro-batch-size", "4", "--decay-steps", "4",
        ]
        let run = try startLockstep(flags + ["--steps", "2", "--out", directory("run")]).ended()
        #expect(run.status == 0, "\(run.errors)")
        try copy(directory("run"), arithmetic: arithmetic, to: directory("old"))
        for workers in ["1", "2"] {
            let resumed = try startLockstep(flags + ["--steps", "4", "--out", directory("old"), "--resume", "-n", workers]).ended()
            let found = arithmetic.map { "arithmetic \($0)" } ?? "depends on the CPU"
            // With several workers the launcher has a line of its own.
            #expect(resumed.status == 1 && resumed.output.isEmpty && resumed.errorLines.count <= 2, "\(resumed.errors)")
            let line = try #require(resumed.errorLines.first)
            #expect([directory("old"), found, "arithmetic 1", "Lockstep 0.0.9"].allSatisfy(line.contains), "\(line)")
        }
        // Its weights are weights.
        let listed = try startLockstep(["inspect", directory("old")]).ended()
        #expect(listed.status == 0 && listed.digest == run.digest)
        #expect(listed.lines.first?.contains("arithmetic \(arithmetic.map(String.init) ?? "of the CPU"); kernels here: ") == true)
        #expect(try startLockstep(["generate", "--checkpoint", directory("old"), "--prompt", "the", "--tokens", "3"]).ended().status == 0)
        #expect(try startLockstep(["eval", "--checkpoint", directory("old"), "--data", directory("text")]).ended().status == 0)
        #expect(try startLockstep(["export", "--checkpoint", directory("old"), "--out", directory("export")]).ended().status == 0)
    }
}
