import Checkpoints
import Collectives
import Datasets
import NeuralNetworks
import Optimizers
import Tensors
import TestSupport
import Testing
import Training

/// Statistics of micro-batches, averaged over all workers' of them.
@Suite(.serialized) struct BatchNormTests {
    struct Net: Module {
        let first = Linear(4, 8)
        let norm = BatchNorm(8)
        let second = Linear(8, 2)

        func callAsFunction(_ x: Tensor) -> Tensor { second(norm(first(x), activation: .relu)) }
    }

    static func trainer(_ ring: Ring, model: Net = Net()) throws -> Trainer<Numbers> {
        let recipe = Recipe(
            globalBatch: 20, microBatch: 3, length: .steps(12), schedule: Schedule(learningRate: 0.05), clipNorm: 1)
        return try Trainer(model: model, data: Numbers(), optimizer: AdamW(weightDecay: 0.01), recipe: recipe, ring: ring) {
            batch, tape in
            let count = batch.labels.count
            return softmaxCrossEntropy(model(tape.input(batch.x, [count, 4])), tape.indices(batch.labels, [count]))
        }
    }

    private func statistics(_ trainer: Trainer<Numbers>) -> [Float] {
        ["norm.runningMean", "norm.runningVariance"].flatMap { name in
            trainer.arena[name].map { parameter in (0..<parameter.count).map { parameter.values[$0] } } ?? []
        }
    }

    private func reference() throws -> (digest: Digest, statistics: [Float], norms: [Double]) {
        let trainer = try Self.trainer(alone())
        var norms: [Double] = []
        try trainer.run { norms.append($0.gradientNorm) }
        return (trainer.weightsDigest, statistics(trainer), norms)
    }

    @Test(arguments: [2, 3, 9]) func theSameBitsForAnyNumberOfWorkers(worldSize: Int) throws {
        let expected = try reference()
        #expect(expected.statistics.allSatisfy { $0 != 0 && $0 != 1 }, "they moved")
        try inWorld(of: worldSize) { ring in
            let trainer = try Self.trainer(ring)
            var norms: [Double] = []
            try trainer.run { norms.append($0.gradientNorm) }
            #expect(trainer.weightsDigest == expected.digest)
            #expect(statistics(trainer) == expected.statistics)
            #expect(norms == expected.norms)
        }
    }

    /// One step's move: 0.1 of the way to the mean over its micro-batches, weighted by their sizes.
    @Test func averagesFollowTheMicroBatches() throws {
        let model = Net()
        let trainer = try Self.trainer(alone(), model: model)
        let step = trainer.nextStep
        let order = SampleOrder(seed: trainer.recipe.seed, count: 101)
        var (mean, variance, total) = (0.0, 0.0, 0.0)
        for id in 0..<step.microBatchCount {
            let samples = order.samples(epoch: 0, positions: step.positions(ofMicroBatch: id))
            let batch = Numbers().batch(epoch: 0, samples)
            let tape = Tape(parameters: trainer.arena)
            let hidden = model.first(tape.input(batch.x, [samples.count, 4])).array
            let channel = samples.indices.map { Double(hidden[$0 * 8 + 5]) }
            let n = Double(samples.count)
            let m = channel.reduce(0, +) / n
            mean += m * n
            variance += channel.reduce(0) { $0 + ($1 - m) * ($1 - m) } / (n - 1) * n
            total += n
        }
        _ = try trainer.step()
        let found = statistics(trainer)
        #expect(abs(Double(found[5]) - 0.1 * mean / total) < 1e-6)
        #expect(abs(Double(found[8 + 5]) - (0.9 + 0.1 * variance / total)) < 1e-6)
    }

    @Test func checkpointsHoldThem() throws {
        let expected = try reference()
        let directory = try TemporaryFolder()
        let checkpoints = CheckpointDirectory(directory.path)
        let first = try Self.trainer(alone())
        for _ in 0..<7 { _ = try first.step() }
        try first.save(to: checkpoints, recipe: ["task": "small"])
        let found = try #require(try checkpoints.latest().checkpoint)
        #expect(try found.weights().info("norm.runningVariance") != nil)
        #expect(try found.optimizer().tensors.allSatisfy { !$0.name.contains("running") })
        try inWorld(of: 3) { ring in
            let trainer = try Self.trainer(ring)
            try trainer.restore(ring.rank == 0 ? found : nil)
            try trainer.run()
            #expect(trainer.weightsDigest == expected.digest)
        }
    }
}
