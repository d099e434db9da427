import CTensorKernels
import Checkpoints
import Collectives
import Glibc
import Synchronization
import Tensors
import TestSupport
import Testing
import Training

/// Comparing states, and saving them behind the run.
@Suite(.serialized) struct StateTests {
    // MARK: The digest

    @Test(arguments: [1, 2, 31, 32, 33, 64, 1000]) func everyBitIsInTheDigest(count: Int) {
        var values = (0..<count).map { Float($0) * 0.37 - 3 }
        let before = tensor_digest(values, count)
        #expect(tensor_digest(values, count) == before)
        #expect(tensor_digest(values, count - 1) != before)
        for index in [0, count / 2, count - 1] {
            for bit in 0..<32 {
                let old = values[index]
                values[index] = Float(bitPattern: old.bitPattern ^ 1 << bit)
                #expect(tensor_digest(values, count) != before, "bit \(bit) of \(index)")
                values[index] = old
            }
        }
    }

    /// Two changes that a plain sum or polynomial would not see: flipped signs, and an exchange, in the same lane.
    @Test func changesThatCancelOneAnotherAreSeen() {
        var random = SeededGenerator(seed: 3)
        var values = (0..<4096).map { _ in Float.random(in: -1...1, using: &random) }
        let before = tensor_digest(values, values.count)
        for _ in 0..<2000 {
            let first = Int.random(in: 0..<4096, using: &random)
            let second = (first + 32 * Int.random(in: 1..<127, using: &random)) % 4096
            values[first].negate()
            values[second].negate()
            #expect(tensor_digest(values, values.count) != before)
            values[first].negate()
            values[second].negate()
            values.swapAt(first, second)
            #expect(tensor_digest(values, values.count) != before)
            values.swapAt(first, second)
        }
        #expect(tensor_digest(values, values.count) == before)
    }

    /// The same on every CPU, or hosts of different kinds would seem to differ.
    @Test func theDigestIsGolden() {
        #expect(tensor_digest([], 0) == StateTests.golden[0])
        #expect(tensor_digest((0..<100).map { Float($0) }, 100) == StateTests.golden[1])
    }

    static let golden: [UInt64] = [3_352_444_652_657_614_421, 16_460_962_059_153_057_515]

    // MARK: Comparing

    @Test(arguments: [([Int](), [Int]()), ([7], []), ([1, 1, 1], []), ([1, 2, 1], [1]), ([1, 2], [0, 1]), ([1, 2, 2, 2, 3], [0, 4]), ([1, 1, 2, 2], [0, 1, 2, 3])])
    func theMinorityIsInTheWrong(values: [Int], expected: [Int]) {
        #expect(minority(values) == expected)
    }

    /// A bit that changes by itself, in a weight or in a moment, is found within `compareEvery` steps, and its rank and tensor named.
    @Test(arguments: [0, 1, 2], [true, false]) func aFlippedBitIsFoundAndNamed(culprit: Int, inWeights: Bool) throws {
        let caught = Mutex(0)
        try inWorld(of: 3) { ring in
            let trainer = try smallTrainer(ring)
            trainer.compareEvery = 4
            for _ in 0..<5 { _ = try trainer.step() }
            if ring.rank == culprit {
                if inWeights {
                    let weight = try #require(trainer.arena["second.weight"])
                    // The lowest bit could be rounded away by the next update.
                    weight.values[3] = Float(bitPattern: weight.values[3].bitPattern ^ 1 << 12)
                } else {
                    trainer.spoilState(1, of: "second.weight", element: 0)
                }
            }
            for _ in 5..<7 { _ = try trainer.step() }
            do {
                _ = try trainer.step()
                Issue.record("rank \(ring.rank) found nothing")
            } catch TrainingError.diverged(let step, let ranks, let tensor, let sameAtStep) {
                #expect(step == 8 && sameAtStep == 4 && ranks == [culprit])
                // A moment has been in the weights for some steps by now.
                #expect(tensor == "second.weight")
                caught.withLock { $0 += 1 }
            }
        }
        #expect(caught.withLock { $0 } == 3)
    }

    /// A checkpoint of a state on which the ranks do not agree is not written.
    @Test func aCheckpointIsOfAStateThatAllHave() throws {
        let folder = try TemporaryFolder()
        let directory = CheckpointDirectory(folder.path)
        try inWorld(of: 2) { ring in
            let trainer = try smallTrainer(ring)
            for _ in 0..<3 { _ = try trainer.step() }
            try trainer.save(to: directory, recipe: [:])
            _ = try trainer.step()
            if ring.rank == 1 { trainer.arena["first.bias"]?.values[0] += 1 }
            do {
                try trainer.save(to: directory, recipe: [:])
                Issue.record("saved")
            } catch TrainingError.diverged(4, let ranks, "first.bias", 3) {
                #expect(ranks == [0, 1], "of two, nobody knows which")
            }
        }
        #expect(try directory.latest().checkpoint?.manifest.step == 3)
    }

    // MARK: Saving behind the run

    @Test(arguments: [1, 3]) func savesInTheBackgroundAreOfTheirStep(worldSize: Int) throws {
        let folder = try TemporaryFolder()
        let directory = CheckpointDirectory(folder.path)
        let expected = Mutex<[Int: Digest]>([:])
        try inWorld(of: worldSize) { ring in
            let trainer = try smallTrainer(ring)
            while !trainer.isDone {
                _ = try trainer.step()
                guard trainer.committedSteps % 3 == 0 else { continue }
                expected.withLock { $0[trainer.committedSteps] = trainer.weightsDigest }
                try trainer.save(to: directory, recipe: [:], inBackground: true)
            }
            try trainer.finishSaving()
        }
        for step in [3, 6, 9, 12] {
            let checkpoint = try Checkpoint.find("\(directory.path)/step-000000\(step < 10 ? "0" : "")\(step)").checkpoint
            #expect(checkpoint.manifest.weightsDigest == expected.withLock { $0[step] })
        }
    }

    /// A save in the background that fails is told where it happened and ends nothing; the next one that is due writes all.
    @Test(arguments: [1, 3]) func aFailureInTheBackgroundEndsNothing(worldSize: Int) throws {
        let folder = try TemporaryFolder()
        let told = Mutex<[String]>([])
        try inWorld(of: worldSize) { ring in
            let trainer = try smallTrainer(ring)
            trainer.warn = { text in told.withLock { $0.append(text) } }
            // A file is where the directory should be.
            if ring.isFirst { close(open("\(folder.path)/run", O_CREAT | O_WRONLY, 0o600)) }
            let directory = CheckpointDirectory("\(folder.path)/run")
            for _ in 0..<3 {
                _ = try trainer.step()
                try trainer.save(to: directory, recipe: [:], inBackground: true)
            }
            // The last is as good as none.
            let failure = #expect(throws: SharedFailure.self) { try trainer.finishSaving() }
            #expect(failure?.rank == 0 && (failure?.cause is CheckpointError) == ring.isFirst)
            #expect(throws: SharedFailure.self) { try trainer.save(to: directory, recipe: [:]) }
            if ring.isFirst { unlink("\(folder.path)/run") }
            _ = try trainer.step()
            try trainer.save(to: directory, recipe: [:], inBackground: true)
            try trainer.finishSaving()
            #expect(trainer.committedSteps == 4)
        }
        let lines = told.withLock { $0 }
        #expect(lines.count == 3)
        for (index, line) in lines.enumerated() {
            #expect(line.contains("step \(index + 1) ") && line.contains("\(folder.path)/run") && !line.contains("\n"), "\(line)")
        }
        #expect(try CheckpointDirectory("\(folder.path)/run").latest().checkpoint?.manifest.step == 4)
    }

    /// Seen while training goes on, without a further save.
    @Test func aFailureInTheBackgroundIsToldAtTheEndOfAStep() throws {
        let folder = try TemporaryFolder()
        let told = Mutex<[String]>([])
        try inWorld(of: 1) { ring in
            let trainer = try smallTrainer(ring, steps: 1_000_000)
            trainer.warn = { text in told.withLock { $0.append(text) } }
            let directory = CheckpointDirectory("\(folder.path)/run")
            _ = try trainer.step()
            try trainer.save(to: directory, recipe: [:], inBackground: true)
            try trainer.finishSaving()
            // No further directory can be made in it.
            chmod("\(folder.path)/run/checkpoints", 0o500)
            rename("\(folder.path)/run/checkpoints", "\(folder.path)/elsewhere")
            close(open("\(folder.path)/run/checkpoints", O_CREAT | O_WRONLY, 0o600))
            try trainer.save(to: directory, recipe: [:], inBackground: true)
            let deadline = ContinuousClock.now + .seconds(60)
            while told.withLock({ $0.isEmpty }), ContinuousClock.now < deadline { _ = try trainer.step() }
        }
        #expect(told.withLock { $0.count } == 1)
        removeTree(folder.path)
    }

    private func removeTree(_ path: String) {
        for name in (try? SystemFileSystem().list(path)) ?? [] { removeTree("\(path)/\(name)") }
        remove(path)
    }
}
