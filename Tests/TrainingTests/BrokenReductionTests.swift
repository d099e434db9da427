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

    private static func trainer(_ ring: Ring, reduction: Recipe.ReductionMode) throws -> Trainer<Numbers> {
        let model = DeepNet()
        let recipe = Recipe(
            globalBatch: 20, microBatch: 3, length: .steps(5), schedule: Schedule(learningRate: 0.001), clipNorm: 1,
            reduction: reduction)
        let trainer = try Trainer(
            model: model, data: Numbers(), optimizer: AdamW(), recipe: recipe, ring: ring
        ) { batch, tape in
            let count = batch.labels.count
            return softmaxCrossEntropy(model(tape.input(batch.x, [count, 4])), tape.indices(batch.labels, [count]))
        }
        trainer.compareEvery = 1
        return trainer
    }

    private static func train(
        _ ring: Ring, _ faults: FaultInjector? = nil, reduction: Recipe.ReductionMode = .exact
    ) throws -> (digest: Digest, keptBuckets: Int) {
        let trainer = try trainer(ring, reduction: reduction)
        trainer.faults = faults
        try trainer.run()
        return (trainer.weightsDigest, trainer.keptBuckets)
    }

    /// Gives the survivors' digests, and how many buckets' sums each did not need again. A rank lives if the others
    /// have the bucket's sums when an earlier death is found out.
    private static func survivors(
        of worldSize: Int, _ deaths: [(rank: Int, bucket: Int)], reduction: Recipe.ReductionMode = .exact
    ) throws -> [(digest: Digest, keptBuckets: Int)] {
        let faults = FaultInjector()
        for death in deaths { faults.failAt(rank: death.rank, step: 3, .bucket(death.bucket)) }
        let results = Mutex<[(digest: Digest, keptBuckets: Int)]>([])
        let died = try ElasticTests.inMortalWorld(of: worldSize) { ring in
            let result = try train(ring, faults, reduction: reduction)
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
        let left = try Self.survivors(of: 4, [(1, bucket)], reduction: reduction)
        #expect(left.count == 3 && Set(left.map(\.digest)).count == 1)
        #expect(left.allSatisfy { reduction == .bf16 ? $0.keptBuckets == 0 : $0.keptBuckets >= bucket - 1 })
    }
}
