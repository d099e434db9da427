import Checkpoints
import Collectives
import NeuralNetworks
import Optimizers
import Synchronization
import Tensors
import TestSupport
import Testing
import Training

/// Ranks that die while sums are on their way: those that are finished by then are all that is left of their partial
/// sums.
@Suite(.serialized) struct BrokenReductionTests {
    /// Buckets 0 to 4 are long; 5 is a short one, and so is 6, the statistics.
    private struct DeepNet: Module {
        let layers: Sequential

        init() {
            var all: [any Layer] = [Linear(4, 272), BatchNorm(272), ReLU()]
            for _ in 0..<5 { all += [Linear(272, 272), ReLU()] as [any Layer] }
            all.append(Linear(272, 2))
            layers = Sequential(all)
        }

        func callAsFunction(_ x: Tensor) -> Tensor { layers(x) }
    }

    /// How a run differs from the usual one.
    private struct Variant: Sendable {
        var reduction = Recipe.ReductionMode.exact
        var momentum = false
        var shards = false
        /// What the loss of micro-batch 4 is multiplied by in step 3, in which ranks die.
        var factor: Float = 1
    }

    private static func trainer(_ ring: Ring, _ variant: Variant) throws -> Trainer<Numbers> {
        let model = DeepNet()
        let recipe = Recipe(
            globalBatch: 20, microBatch: 3, length: .steps(5), schedule: Schedule(learningRate: 0.001), clipNorm: 1,
            reduction: variant.reduction)
        let optimizer: any Optimizer = variant.momentum ? SGD(momentum: 0.9, nesterov: true) : AdamW()
        let trainer = try Trainer(
            model: model, data: Numbers(), optimizer: optimizer, recipe: recipe, ring: ring
        ) { batch, tape in
            let count = batch.labels.count
            let logits = model(tape.input(batch.x, [count, 4]))
            let loss = softmaxCrossEntropy(logits, tape.indices(batch.labels, [count]))
            guard variant.factor != 1, tape.pass.step == 2, tape.pass.microBatch == 4 else { return loss }
            return Loss(sum: loss.sum * variant.factor, weight: loss.weight)
        }
        if variant.shards { trainer.shardOptimizer() }
        trainer.compareEvery = 1
        return trainer
    }

    private static func train(
        _ ring: Ring, _ faults: FaultInjector? = nil, _ variant: Variant = Variant()
    ) throws -> (digest: Digest, keptBuckets: Int) {
        let trainer = try trainer(ring, variant)
        trainer.faults = faults
        try trainer.run()
        return (trainer.weightsDigest, trainer.keptBuckets)
    }

    /// Gives the survivors' digests, and how many buckets' sums each did not need again. A rank lives if the others
    /// have the bucket's sums when an earlier death is found out.
    private static func survivors(
        of worldSize: Int, _ deaths: [(rank: Int, bucket: Int)], _ variant: Variant = Variant()
    ) throws -> [(digest: Digest, keptBuckets: Int)] {
        let faults = FaultInjector()
        for death in deaths { faults.failAt(rank: death.rank, step: 3, .bucket(death.bucket)) }
        let results = Mutex<[(digest: Digest, keptBuckets: Int)]>([])
        let died = try ElasticTests.inMortalWorld(of: worldSize) { ring in
            let result = try train(ring, faults, variant)
            results.withLock { $0.append(result) }
        }
        let left = results.withLock { $0 }
        #expect(died >= 1 && left.count == worldSize - died)
        return left
    }

    /// Finished sums hold what went with the dead, and the others are summed again.
    @Test(arguments: 0...6, [2, 3, 4]) func oneDiesWithSomeSums(bucket: Int, worldSize: Int) throws {
        let expected = try Self.train(alone()).digest
        let left = try Self.survivors(of: worldSize, [(bucket % worldSize, bucket)])
        #expect(left.count == worldSize - 1)
        #expect(left.allSatisfy { $0.digest == expected })
        // For a rank to have a long bucket's sums all must have those of the second before it.
        #expect(left.allSatisfy { $0.keptBuckets >= min(bucket, 4) - 1 }, "\(left.map(\.keptBuckets))")
    }

    /// One after the other: what came from the one that died second is with those who are left.
    @Test(arguments: [(1, 4), (3, 3), (2, 6), (5, 6)]) func twoDieOneAfterTheOther(buckets: (Int, Int)) throws {
        let expected = try Self.train(alone()).digest
        let left = try Self.survivors(of: 4, [(2, buckets.0), (1, buckets.1)])
        #expect(left.allSatisfy { $0.digest == expected })
    }

    /// The sums of the usual reductions depend on who took part; the ranks have the same ones all the same.
    @Test(arguments: [Recipe.ReductionMode.fp32, .bf16], [2, 5])
    func allHaveTheSameSums(reduction: Recipe.ReductionMode, bucket: Int) throws {
        let left = try Self.survivors(of: 4, [(1, bucket)], Variant(reduction: reduction))
        #expect(left.count == 3 && Set(left.map(\.digest)).count == 1)
        #expect(left.allSatisfy { reduction == .bf16 ? $0.keptBuckets == 0 : $0.keptBuckets >= bucket - 1 })
    }

    @Test(arguments: [1, 3, 5, 6], [false, true]) func withMomentum(bucket: Int, shards: Bool) throws {
        let expected = try Self.train(alone(), nil, Variant(momentum: true)).digest
        let left = try Self.survivors(of: 3, [(1, bucket)], Variant(momentum: true, shards: shards))
        #expect(left.allSatisfy { $0.digest == expected && (!shards || $0.keptBuckets == 0) })
    }

    /// No rank has all sums then, and all keep their partial sums.
    @Test(arguments: 0...6) func withShards(bucket: Int) throws {
        let expected = try Self.train(alone()).digest
        let left = try Self.survivors(of: 4, [(bucket % 4, bucket)], Variant(shards: true))
        #expect(left.allSatisfy { $0.digest == expected && $0.keptBuckets == 0 })
    }

    /// What does not fit is known also where its sums are finished: the step is done again on coarser grids.
    @Test(arguments: [0, 2, 4, 6], [false, true]) func aStepThatIsRedone(bucket: Int, shards: Bool) throws {
        let variant = Variant(shards: shards, factor: 0x1p40)
        let expected = try Self.train(alone(), nil, Variant(factor: 0x1p40)).digest
        #expect(try Self.train(alone()).digest != expected)
        let left = try Self.survivors(of: 3, [(1, bucket)], variant)
        #expect(left.allSatisfy { $0.digest == expected })
    }

    /// And so is what is not a number, whoever had computed it and whoever computes it again.
    @Test(arguments: [0, 2, 4, 6], 0...2) func aStepThatFails(bucket: Int, dying: Int) throws {
        let faults = FaultInjector()
        faults.failAt(rank: dying, step: 3, .bucket(bucket))
        let told = Mutex(0)
        let died = try ElasticTests.inMortalWorld(of: 3) { ring in
            let trainer = try Self.trainer(ring, Variant(factor: .nan))
            trainer.faults = faults
            do {
                try trainer.run()
                Issue.record("a step with a NaN has been taken")
            } catch let error as TrainingError {
                guard case .gradientNotFinite(step: 3, microBatch: 4, rank: _, parameter: _) = error else { throw error }
                #expect(trainer.committedSteps == 2)
                told.withLock { $0 += 1 }
            }
        }
        #expect(died == 1 && told.withLock { $0 } == 2)
    }
}
