import Checkpoints
import Glibc
import Testing

struct CheckpointDirectoryTests {
    private let directory = TemporaryDirectory()
    private let first = RunState(step: 1000, seed: 1)
    private let second = RunState(step: 2000, seed: 2)
    private let third = RunState(step: 3000, seed: 3)

    @discardableResult
    private func save(_ state: RunState, keep: Int = .max, _ fault: FaultyFileSystem.Fault = .none) throws -> Checkpoint {
        try state.with { try CheckpointDirectory(directory.path, fileSystem: FaultyFileSystem(fault)).save($0, keep: keep) }
    }

    private func latest() throws -> (checkpoint: Checkpoint?, damaged: [DamagedCheckpoint]) {
        try CheckpointDirectory(directory.path).latest()
    }

    @Test func whatIsSavedIsFound() throws {
        #expect(try latest().checkpoint == nil)
        let saved = try save(first)
        #expect(try first.matches(saved))
        let found = try #require(try latest().checkpoint)
        #expect(try first.matches(found))
        #expect(found.manifest == saved.manifest)
        #expect(found.path == "\(directory.path)/checkpoints/step-00001000")
        #expect(directory.list("checkpoints") == ["step-00001000"])
        #expect(
            directory.list("checkpoints/step-00001000") == ["manifest.json", "optimizer.safetensors", "weights.safetensors"])
    }

    @Test func theNewestIsTaken() throws {
        for state in [second, first, third] { try save(state) }
        #expect(try third.matches(#require(try latest().checkpoint)))
        // A step with more digits than its neighbours, which sorts before them by name.
        let far = RunState(step: 1_000_000_000, seed: 4)
        try save(far)
        #expect(try far.matches(#require(try latest().checkpoint)))
    }

    @Test func theSameStateIsTheSameBytes() throws {
        try save(first)
        let names = ["weights.safetensors", "optimizer.safetensors", "manifest.json"]
        let before = names.map { directory.read("checkpoints/step-00001000/\($0)") }
        try save(first)
        #expect(names.map { directory.read("checkpoints/step-00001000/\($0)") } == before)
        #expect(directory.list("checkpoints") == ["step-00001000"])
    }

    @Test(arguments: [1, 2, 3, 4]) func onlySoManyAreKept(keep: Int) throws {
        for state in [first, second, third] { try save(state, keep: keep) }
        let all = ["step-00001000", "step-00002000", "step-00003000"]
        #expect(directory.list("checkpoints") == Array(all.suffix(keep)))
    }

    @Test func laterStepsAreLeftAlone() throws {
        for state in [first, third] { try save(state) }
        try save(second, keep: 1)
        #expect(directory.list("checkpoints") == ["step-00002000", "step-00003000"])
    }

    @Test func remainsOfDeadWritersAreRemoved() throws {
        let directory = CheckpointDirectory(directory.path)
        try first.with { _ = try directory.save($0) }
        // No process has the largest number: Linux's limit is 2^22. Process 1 is always there.
        for name in [".step-00000500.tmp-2147483647", ".step-00000500.tmp-1", ".other", "step-5", "step-000000005", "note"] {
            mkdir("\(directory.path)/\(name)", 0o700)
        }
        try second.with { _ = try directory.save($0) }
        #expect(
            self.directory.list("checkpoints") == [
                ".other", ".step-00000500.tmp-1", "note", "step-000000005", "step-00001000", "step-00002000", "step-5",
            ])
        #expect(try directory.latest().damaged.isEmpty)
    }

    /// What makes a checkpoint survive a loss of power is the order of the calls: data, manifest, directory, rename,
    /// parent, and only then the removal of the older one.
    @Test func theOrderOfCalls() throws {
        try save(first)
        let fileSystem = FaultyFileSystem(.none)
        try second.with { _ = try CheckpointDirectory(directory.path, fileSystem: fileSystem).save($0, keep: 1) }
        let temporary = ".step-00002000.tmp-\(getpid())"
        let file = ["write", "fsync", "close"]
        let expected =
            ["mkdir checkpoints/\(temporary)"]
            + ["create \(temporary)/weights.safetensors"] + file
            + ["create \(temporary)/optimizer.safetensors"] + file
            + ["create \(temporary)/manifest.json"] + file
            + ["open checkpoints/\(temporary)", "fsync", "close"]
        let trace = fileSystem.trace
        let start = try #require(trace.firstIndex(of: expected[0]))
        #expect(Array(trace[start..<start + expected.count]) == expected)
        let rest = trace[(start + expected.count)...].filter { !$0.hasPrefix("list") }
        let run = directory.path.split(separator: "/").last!
        #expect(
            rest.prefix(5) == [
                "rename checkpoints/\(temporary) checkpoints/step-00002000", "open \(run)/checkpoints", "fsync", "close",
                "rename checkpoints/step-00001000 checkpoints/.step-00001000.tmp-\(getpid())",
            ])
        #expect(!trace[..<start].contains { $0.hasPrefix("unlink") || $0.hasPrefix("rename") })
    }

    /// The number of calls of a save, from which the death tests take their arguments.
    private func countCalls(_ state: RunState) throws -> Int {
        let fileSystem = FaultyFileSystem(.none)
        try state.with { _ = try CheckpointDirectory(directory.path, fileSystem: fileSystem).save($0, keep: 1) }
        return fileSystem.calls
    }

    /// Whichever call is a writer's last, the newest whole checkpoint is there, and the next writer cleans up.
    @Test(arguments: [false, true], [false, true]) func deathAtEveryCall(after: Bool, sameStep: Bool) throws {
        let next = sameStep ? RunState(step: 1000, seed: 9) : second
        try save(first, keep: 1)
        let calls = try countCalls(next)
        #expect(calls > 25)
        var outcomes: Set<Bool> = []
        for call in 1...calls {
            let directory = TemporaryDirectory()
            let run = CheckpointDirectory(directory.path)
            _ = try first.with { try run.save($0, keep: 1) }
            let fileSystem = FaultyFileSystem(after ? .deathAfter(call) : .death(at: call))
            try? next.with { _ = try CheckpointDirectory(directory.path, fileSystem: fileSystem).save($0, keep: 1) }

            let (checkpoint, damaged) = try run.latest()
            let found = try #require(checkpoint, "no checkpoint after death at call \(call)")
            #expect(damaged.isEmpty, "call \(call)")
            let isNew = try next.matches(found)
            #expect(try isNew || first.matches(found), "call \(call)")
            outcomes.insert(isNew)

            _ = try third.with { try run.save($0, keep: 1) }
            #expect(directory.list("checkpoints") == ["step-00003000"], "call \(call)")
        }
        #expect(outcomes == [false, true])
    }

    /// A call that fails ends the save with one error, and leaves nothing behind but what was there.
    @Test(arguments: [ENOSPC, EIO, EACCES]) func failureAtEveryCall(code: Int32) throws {
        try save(first, keep: 1)
        let calls = try countCalls(second)
        var failures = 0
        for call in 1...calls {
            let directory = TemporaryDirectory()
            let run = CheckpointDirectory(directory.path)
            _ = try first.with { try run.save($0, keep: 1) }
            let fileSystem = FaultyFileSystem(.failure(at: call, code: code))
            do {
                try second.with { _ = try CheckpointDirectory(directory.path, fileSystem: fileSystem).save($0, keep: 1) }
                #expect(try second.matches(#require(try run.latest().checkpoint)), "call \(call)")
            } catch let error as CheckpointError {
                failures += 1
                guard case .system(_, let path, code) = error else { Issue.record("call \(call): \(error)"); continue }
                #expect(path.hasPrefix(directory.path) && !error.description.contains("\n"))
                let found = try #require(try run.latest().checkpoint, "call \(call)")
                #expect(try first.matches(found) || second.matches(found), "call \(call)")
                #expect(directory.list("checkpoints").allSatisfy { !$0.hasPrefix(".") }, "call \(call)")
            }
        }
        #expect(failures > 15)
    }

    @Test(arguments: [1, 7, 64]) func shortWritesAndInterruptions(bytes: Int) throws {
        let fileSystem = FaultyFileSystem(.interruptions(bytes: bytes))
        let run = CheckpointDirectory(directory.path, fileSystem: fileSystem)
        for state in [first, second, second] { _ = try state.with { try run.save($0, keep: 1) } }
        #expect(try second.matches(#require(try run.latest().checkpoint)))
        #expect(try second.matches(#require(try latest().checkpoint)))
        #expect(directory.list("checkpoints") == ["step-00002000"])
    }

    @Test func aDirectoryThatCannotBeWritten() throws {
        directory.write("file", [])
        let run = CheckpointDirectory("\(directory.path)/file")
        #expect {
            try first.with { _ = try run.save($0) }
        } throws: { error in
            guard case .system(_, let path, ENOTDIR)? = error as? CheckpointError else { return false }
            return path == "\(directory.path)/file/checkpoints"
        }
    }

    @Test func missingParentsAreMade() throws {
        let run = CheckpointDirectory("\(directory.path)/a/b/c/")
        _ = try first.with { try run.save($0) }
        #expect(directory.list("a/b/c/checkpoints") == ["step-00001000"])
    }

    /// Also by the writer behind the run. A manifest without a number is one of before there were numbers.
    @Test(arguments: [nil, 1, 7]) func theArithmeticIsKept(_ arithmetic: Int?) throws {
        let run = CheckpointDirectory(directory.path)
        let writer = CheckpointWriter(CheckpointDirectory("\(directory.path)/written"))
        try first.with { state in
            var state = state
            state.arithmetic = arithmetic
            _ = try run.save(state)
            try writer.save(state)
            try writer.finish()
        }
        #expect(try latest().checkpoint?.manifest.arithmetic == arithmetic)
        #expect(try Checkpoint.find("\(directory.path)/written").checkpoint.manifest.arithmetic == arithmetic)
        let text = String(decoding: directory.read("checkpoints/step-00001000/manifest.json"), as: UTF8.self)
        #expect(text.contains("\"arithmetic\"") == (arithmetic != nil))
    }

    @Test func aSnapshotIsSavedOnAnotherThread() async throws {
        let (weights, optimizer, state) = first.with { state in
            (TensorSnapshot(copying: state.weights), TensorSnapshot(copying: state.optimizer), state.recipe)
        }
        let run = CheckpointDirectory(directory.path)
        let step = first.step
        let saved = try await Task.detached {
            try weights.withTensors { weights in
                try optimizer.withTensors { optimizer in
                    try run.save(
                        CheckpointState(
                            step: step, epoch: step / 300, stepInEpoch: step % 300, recipe: state, weights: weights,
                            optimizer: optimizer, lockstepVersion: "1.2.3"))
                }
            }
        }.value
        #expect(try first.matches(saved))
        #expect(try first.matches(#require(try latest().checkpoint)))
    }
}
