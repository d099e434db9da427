import Checkpoints
import Collectives
import Datasets
import Glibc
import Synchronization
import Telemetry
import Tensors
import TestSupport
import Testing
import Training

@Suite(.serialized) struct TrainerTests {
    /// The digest, and all losses and norms, of an undisturbed world of one.
    private func reference(steps: Int = 12) throws -> (digest: Digest, curve: [[Double]]) {
        let trainer = try smallTrainer(alone(), steps: steps)
        var curve: [[Double]] = []
        try trainer.run { curve.append([$0.loss, $0.gradientNorm, $0.learningRate]) }
        return (trainer.weightsDigest, curve)
    }

    /// 20 samples in micro-batches of 3 are 7, on up to 9 workers: uneven shares, and workers without any.
    @Test(arguments: [2, 3, 4, 5, 8, 9])
    func theSameBitsForAnyNumberOfWorkers(worldSize: Int) throws {
        let expected = try reference()
        try inWorld(of: worldSize) { ring in
            let trainer = try smallTrainer(ring)
            var curve: [[Double]] = []
            try trainer.run { curve.append([$0.loss, $0.gradientNorm, $0.learningRate]) }
            #expect(trainer.weightsDigest == expected.digest)
            #expect(curve == expected.curve)
        }
    }

    /// The test above can fail: the usual sum does depend on the number of workers.
    @Test func theUsualSumDependsOnTheNumberOfWorkers() throws {
        let one = try smallTrainer(alone(), reduction: .fp32)
        try one.run()
        let digests = Mutex<Set<Digest>>([])
        try inWorld(of: 3) { ring in
            let trainer = try smallTrainer(ring, reduction: .fp32)
            try trainer.run()
            digests.withLock { _ = $0.insert(trainer.weightsDigest) }
        }
        #expect(digests.withLock { $0.count } == 1, "all ranks agree")
        #expect(!digests.withLock { $0.contains(one.weightsDigest) })
    }

    /// Half of float32's bytes: all ranks agree, and learn what they learn with the exact sum, but for the rounding.
    @Test(arguments: [1, 2, 3]) func sumsOfBfloat16(worldSize: Int) throws {
        let expected = try reference()
        let exactBytes = Mutex(0)
        if worldSize > 1 {
            try inWorld(of: worldSize) { ring in
                let trainer = try smallTrainer(ring)
                let sent = try trainer.step().bytesSent
                if ring.isFirst { exactBytes.withLock { $0 = sent } }
            }
        }
        let digests = Mutex<Set<Digest>>([])
        try inWorld(of: worldSize) { ring in
            let trainer = try smallTrainer(ring, reduction: .bf16)
            var losses: [Double] = []
            try trainer.run { metrics in
                losses.append(metrics.loss)
                if ring.isFirst, metrics.step == 1, worldSize > 1 { #expect(metrics.bytesSent < exactBytes.withLock { $0 }) }
            }
            digests.withLock { _ = $0.insert(trainer.weightsDigest) }
            for (loss, curve) in zip(losses, expected.curve) { #expect(abs(loss - curve[0]) < 0.02 * curve[0], "\(loss), \(curve[0])") }
        }
        #expect(digests.withLock { $0.count } == 1 && !digests.withLock { $0.contains(expected.digest) })
    }

    @Test func theSeedMatters() throws {
        let expected = try reference()
        let other = try smallTrainer(alone(), rate: 0.0500001)
        try other.run()
        #expect(other.weightsDigest != expected.digest)
        #expect(try #require(expected.curve.last?.first) < #require(expected.curve.first?.first), "it learns")
    }

    /// Gradients that suddenly are 2^40 times as large do not fit: the step is redone, on every rank, to the same bits.
    @Test(arguments: [1, 2, 3])
    func aStepThatDoesNotFitIsRedone(worldSize: Int) throws {
        @Sendable func spoil(_ loss: Loss, _ pass: Pass) -> Loss {
            pass.step == 4 && pass.microBatch == 6 ? Loss(sum: loss.sum * 0x1p40, weight: loss.weight) : loss
        }
        let one = try smallTrainer(alone(), spoil: spoil)
        try one.run()
        #expect(one.redoneSteps == 3, "2^16 a time, from 2^6 of headroom")
        let digest = one.weightsDigest
        try inWorld(of: worldSize) { ring in
            let trainer = try smallTrainer(ring, spoil: spoil)
            try trainer.run()
            #expect(trainer.redoneSteps == 3)
            #expect(trainer.weightsDigest == digest)
        }
    }

    /// NaN names step, micro-batch, rank and parameter on every rank, and the step leaves nothing behind.
    @Test(arguments: [1, 3])
    func notANumberIsNamedAndNothingOfTheStepIsKept(worldSize: Int) throws {
        let before = try reference(steps: 4).digest
        try inWorld(of: worldSize) { ring in
            let trainer = try smallTrainer(ring) { loss, pass in
                pass.step == 4 && pass.microBatch == 5 ? Loss(sum: loss.sum * .nan, weight: loss.weight) : loss
            }
            for _ in 0..<4 { _ = try trainer.step() }
            #expect(throws: TrainingError.gradientNotFinite(step: 5, microBatch: 5, rank: worldSize == 1 ? 0 : 2, parameter: "second.weight")) {
                _ = try trainer.step()
            }
            #expect(trainer.committedSteps == 4)
            #expect(trainer.weightsDigest == before)
        }
    }

    @Test func weightsOfNothingAreRefused() throws {
        let trainer = try smallTrainer(alone()) { loss, _ in Loss(sum: loss.sum, weight: 0) }
        #expect(throws: TrainingError.noWeight(step: 1)) { _ = try trainer.step() }
    }

    /// Stopped after any step and resumed by another number of workers: the bits of never having stopped.
    @Test(arguments: [(1, 3), (2, 1), (3, 2)])
    func resumingGivesTheSameBits(before: Int, after: Int) throws {
        let expected = try reference().digest
        let directory = try TemporaryFolder()
        let checkpoints = CheckpointDirectory(directory.path)
        try inWorld(of: before) { ring in
            let trainer = try smallTrainer(ring)
            for _ in 0..<7 { _ = try trainer.step() }
            try trainer.save(to: checkpoints, recipe: ["task": "small"])
        }
        let found = try #require(try checkpoints.latest().checkpoint)
        #expect(found.manifest.step == 7 && found.manifest.epoch == 1 && found.manifest.stepInEpoch == 1)
        try inWorld(of: after) { ring in
            let trainer = try smallTrainer(ring)
            // Only rank 0 has the checkpoint.
            try trainer.restore(ring.rank == 0 ? found : nil)
            #expect(trainer.committedSteps == 7)
            try trainer.run()
            #expect(trainer.weightsDigest == expected)
        }
    }

    @Test func ranksThatDifferAreNamed() throws {
        try inWorld(of: 3) { ring in
            let trainer = try smallTrainer(ring)
            try trainer.agree(on: Digest.of([1, 2, 3]), what: "flags")
            #expect(throws: TrainingError.ranksDiffer(rank: 2, what: "flags")) {
                try trainer.agree(on: Digest.of([ring.rank == 2 ? 9 : 1]), what: "flags")
            }
            #expect(try trainer.ranksThatDiffer(in: Digest.of([ring.rank == 0 ? 9 : 1])) == [1, 2])
            #expect(try trainer.ranksThatDiffer(in: Digest.of([1])).isEmpty)
        }
    }

    @Test(arguments: [1, 2, 5])
    func evaluationIsTheSameForAnyNumberOfWorkers(worldSize: Int) throws {
        @Sendable func evaluate(_ trainer: Trainer<Numbers>) throws -> Evaluation {
            return try trainer.evaluate(Numbers(count: 50)) { batch, tape in
                let x = tape.input(batch.x, [batch.labels.count, 4])
                return Score(loss: Loss(sum: (x * x).sum(), weight: Double(batch.labels.count)), correct: batch.labels.count { $0 == 1 })
            }
        }
        let expected = try evaluate(smallTrainer(alone()))
        #expect(expected.weight == 50)
        #expect(expected.accuracy == Double((0..<50).count { ($0 * 31) % 23 > 11 }) / 50)
        try inWorld(of: worldSize) { ring in
            let evaluation = try evaluate(smallTrainer(ring))
            #expect(evaluation == expected)
        }
    }
}
