import Checkpoints
import Glibc
import Testing

/// Checkpoints that are written on another thread.
struct CheckpointWriterTests {
    private let directory = TemporaryDirectory()
    private let first = RunState(step: 1000, seed: 1)
    private let second = RunState(step: 2000, seed: 2)

    private func writer(_ fault: FaultyFileSystem.Fault = .none) -> (CheckpointWriter, FaultyFileSystem) {
        let fileSystem = FaultyFileSystem(fault)
        return (CheckpointWriter(CheckpointDirectory(directory.path, fileSystem: fileSystem)), fileSystem)
    }

    private func latest() throws -> Checkpoint {
        let (checkpoint, damaged) = try CheckpointDirectory(directory.path).latest()
        #expect(damaged.isEmpty)
        return try #require(checkpoint)
    }

    /// The memory of what is saved may change as soon as `save` has returned.
    @Test func theStateOfTheMomentIsSaved() throws {
        let (writer, _) = writer()
        var values = [Float](repeating: 1, count: 300_000)
        try values.withUnsafeMutableBytes { bytes in
            func state(_ step: Int) -> CheckpointState {
                CheckpointState(
                    step: step, epoch: 0, stepInEpoch: step, recipe: ["a": 1],
                    weights: [StoredTensor(name: "w", type: .float32, shape: [300_000], bytes: UnsafeRawBufferPointer(bytes))],
                    optimizer: [], lockstepVersion: "1")
            }
            try writer.save(state(1))
            bytes.bindMemory(to: Float.self).update(repeating: 2)
            try writer.save(state(2), keep: 1)
            bytes.bindMemory(to: Float.self).update(repeating: 3)
            try writer.finish()
        }
        let saved = try latest()
        #expect(saved.manifest.step == 2)
        let expected = [Float](repeating: 2, count: 300_000).withUnsafeBytes { Array($0) }
        #expect(try saved.weights().bytes("w") == expected)
        #expect(directory.list("checkpoints") == ["step-00000002"])
    }

    @Test func theLastReferenceWaits() throws {
        do {
            let (writer, _) = writer()
            try first.with { try writer.save($0) }
        }
        #expect(try first.matches(latest()))
    }

    /// Whichever call fails, it is told once, by the next call, which begins nothing; then all is as before.
    @Test func aFailureIsToldByTheNextCall() throws {
        let (counter, counted) = writer()
        try first.with { try counter.save($0) }
        try counter.finish()
        var failures = 0
        for call in 1...counted.calls {
            let (writer, _) = writer(.failure(at: call, code: ENOSPC))
            try first.with { try writer.save($0) }
            do {
                try second.with { try writer.save($0) }
            } catch {
                failures += 1
                #expect(try first.matches(latest()))
                try second.with { try writer.save($0) }
            }
            try writer.finish()
            #expect(try second.matches(latest()), "call \(call)")
            for name in directory.list("checkpoints") where name.hasSuffix("2000") { removeTree("\(directory.path)/checkpoints/\(name)") }
        }
        #expect(failures > 15)
    }

    private func removeTree(_ path: String) {
        for name in (try? SystemFileSystem().list(path)) ?? [] { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    /// A process that dies at any call of a background save leaves the older checkpoint, or the new one whole.
    @Test(arguments: [false, true]) func deathAtEveryCall(after: Bool) throws {
        let (counter, counted) = writer()
        try first.with { try counter.save($0, keep: 1) }
        try second.with { try counter.save($0, keep: 1) }
        try counter.finish()
        var outcomes: Set<Bool> = []
        for call in 1...counted.calls {
            let directory = TemporaryDirectory()
            let fileSystem = FaultyFileSystem(after ? .deathAfter(call) : .death(at: call))
            let writer = CheckpointWriter(CheckpointDirectory(directory.path, fileSystem: fileSystem))
            try? first.with { try writer.save($0, keep: 1) }
            try? second.with { try writer.save($0, keep: 1) }
            try? writer.finish()
            let (checkpoint, damaged) = try CheckpointDirectory(directory.path).latest()
            #expect(damaged.isEmpty, "call \(call)")
            guard let checkpoint else { continue }
            let isNew = try second.matches(checkpoint)
            #expect(try isNew || first.matches(checkpoint), "call \(call)")
            outcomes.insert(isNew)
        }
        #expect(outcomes == [false, true])
    }

    @Test func aFailureIsSeenWithoutWaiting() throws {
        let (writer, _) = writer(.failure(at: 3, code: EIO))
        #expect(!writer.hasFailed)
        try first.with { try writer.save($0) }
        for _ in 0..<120_000 where !writer.hasFailed { usleep(1000) }
        #expect(writer.hasFailed)
        #expect {
            try writer.finish()
        } throws: { error in
            if case .system(_, _, EIO)? = error as? CheckpointError { true } else { false }
        }
        #expect(!writer.hasFailed)
        try writer.finish()
    }
}
