import Checkpoints
import Collectives
import Datasets
import NeuralNetworks
import Optimizers
import Synchronization
import Tensors
import TestSupport
import Testing
import Training

/// A loss that couples all samples of the global batch.
@Suite(.serialized) struct GlobalLossTests {
    struct Encoder: Module {
        let first = Linear(4, 19)
        let second = Linear(19, 6)

        func callAsFunction(_ x: Tensor) -> Tensor { second(first(x, activation: .geluExact)) }

        /// Two views of each sample, the second of which is turned: (n, 2, 6).
        func pairs(_ batch: Numbers.Batch, _ tape: Tape) -> Tensor {
            let count = batch.labels.count
            var rows: [Float] = []
            for sample in 0..<count {
                let x = batch.x[sample * 4..<sample * 4 + 4]
                rows += x + [x[x.startIndex + 1], x[x.startIndex], x[x.startIndex + 3] * 0.9, x[x.startIndex + 2]]
            }
            return self(tape.input(rows, [2 * count, 4])).reshaped([count, 2, 6])
        }
    }

    private static let globalBatch = 20

    static func trainer(
        _ ring: Ring, microBatch: Int = 3, optimizer: any Optimizer = AdamW(), dropout: Float = 0, noise: Bool = false
    ) throws -> Trainer<Numbers> {
        let model = Encoder()
        let calls = Mutex(0)
        let recipe = Recipe(
            globalBatch: Self.globalBatch, microBatch: microBatch, length: .steps(12), schedule: Schedule(learningRate: 0.02), clipNorm: 1)
        return try Trainer(
            model: model, data: Numbers(), optimizer: optimizer, recipe: recipe, ring: ring,
            representation: { batch, tape in
                let pairs = model.pairs(batch, tape).dropout(dropout)
                return noise ? pairs + Float(calls.withLock { $0 += 1; return $0 }) : pairs
            },
            globalLoss: { pairs, _ in contrastiveLoss(pairs) })
    }

    private func reference(dropout: Float = 0) throws -> (digest: Digest, losses: [Double]) {
        let trainer = try Self.trainer(alone(), dropout: dropout)
        var losses: [Double] = []
        try trainer.run { losses.append($0.loss) }
        return (trainer.weightsDigest, losses)
    }

    /// Dropout included: the second forward pass drops what the first did.
    @Test(arguments: [2, 3, 9], [Float(0), 0.2]) func theSameBitsForAnyNumberOfWorkers(worldSize: Int, dropout: Float) throws {
        let expected = try reference(dropout: dropout)
        try inWorld(of: worldSize) { ring in
            let trainer = try Self.trainer(ring, dropout: dropout)
            var losses: [Double] = []
            try trainer.run { losses.append($0.loss) }
            #expect(trainer.weightsDigest == expected.digest)
            #expect(losses == expected.losses)
        }
    }

    @Test func itLearns() throws {
        let losses = try reference().losses
        #expect(try #require(losses.last) < #require(losses.first) - 0.1)
    }

    /// The gradient of the whole batch in one pass, and of the sum of losses of micro-batches, which is another.
    private func direct(microBatch: Int) -> (gradient: [Float], loss: Double) {
        let model = Encoder()
        let arena = ParameterArena(model, seed: 1)
        let tape = Tape(parameters: arena)
        let samples = SampleOrder(seed: 1, count: 101).samples(epoch: 0, positions: 0..<Self.globalBatch)
        var (gradient, sum) = ([Float](repeating: 0, count: arena.count), 0.0)
        for first in stride(from: 0, to: samples.count, by: microBatch) {
            let part = Array(samples[first..<min(first + microBatch, samples.count)])
            tape.begin(Pass(isTraining: true))
            let loss = contrastiveLoss(model.pairs(Numbers().batch(epoch: 0, part), tape))
            sum += Double(loss.sum.item)
            tape.backward(from: loss)
            for index in gradient.indices { gradient[index] += arena.gradients[index] }
        }
        return (gradient, sum / Double(2 * samples.count))
    }

    @Test(arguments: [1, 3, 7, 20]) func anySplitGivesTheGradientOfTheWhole(microBatch: Int) throws {
        let expected = direct(microBatch: Self.globalBatch)
        let trainer = try Self.trainer(alone(), microBatch: microBatch, optimizer: SGD(momentum: 0))
        let metrics = try trainer.step()
        #expect(abs(metrics.loss - expected.loss) < 1e-6)
        let largest = expected.gradient.reduce(0) { max($0, abs($1)) }
        #expect(largest > 0.1)
        for (got, wanted) in zip(trainer.gradientSums, expected.gradient) { #expect(abs(got - wanted) < 1e-5 * largest) }
        if microBatch < Self.globalBatch {
            let plain = direct(microBatch: microBatch).gradient
            #expect(zip(plain, expected.gradient).contains { abs($0 - $1) > 0.1 * largest }, "plain accumulation is wrong")
        }
    }

    @Test func aRepresentationThatChangesIsRefused() throws {
        let trainer = try Self.trainer(alone(), noise: true)
        #expect(throws: TrainingError.representationsDiffer(step: 1, microBatch: 0)) { _ = try trainer.step() }
        #expect(trainer.committedSteps == 0)
    }
}
