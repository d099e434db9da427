import Collectives
import Datasets
import NeuralNetworks
import Optimizers
import Tensors

/// A loss over the global batch that couples its samples, computed in two passes.
///
/// 1. Every micro-batch's representations, a forward pass that keeps nothing; all ranks get all of them.
/// 2. On every rank alike: the loss of all representations and its gradient with respect to each.
/// 3. Every micro-batch forward again, and backward from its part of that gradient.
///
/// By the chain rule the sum of 3 over micro-batches is the gradient of the whole, whatever the micro-batches are: one of them is in
/// memory at a time, and the extra cost is one more forward pass.
///
/// Source: L. Gao et al., "Scaling deep contrastive learning batch size under memory limited setup", arXiv:2101.06983.
struct GlobalLoss<Batch> {
    let representation: (_ batch: Batch, _ tape: Tape) throws -> Tensor
    let loss: (_ representations: Tensor, _ tape: Tape) throws -> Loss

    /// What 1 and 2 found for the step at hand.
    struct Prepared {
        /// All of the global batch, a sample after the other, and the gradient of the loss's sum laid out alike.
        let representations: [Float]
        let gradient: [Float]
        let sampleCount: Int
        let weight: Double
        let sum: Double
        /// The ring on which all ranks have it, and the step that it is for.
        let generation: Int
        let step: Int

        /// The places of some of the batch's samples.
        func places(_ samples: Range<Int>) -> Range<Int> {
            let size = representations.count / max(sampleCount, 1)
            return samples.lowerBound * size..<samples.upperBound * size
        }
    }
}

extension Trainer {
    /// A trainer for a loss that couples the samples of the global batch, such as `contrastiveLoss`: exact for any split into
    /// micro-batches and any number of workers.
    ///
    /// - Parameters:
    ///   - representation: the forward pass of one micro-batch, (n, ...) for n samples, in the same shape but for n every time; must
    ///     be a function of its arguments and the model only, as it is called twice. The step fails with
    ///     `TrainingError.representationsDiffer` if it is not.
    ///   - globalLoss: the loss of the representations of a global batch, (N, ...) in the order of its samples; uses no parameters.
    /// - Throws: `DatasetError` if the batch sizes make no sense for the data.
    public convenience init(
        model: some Module, data: Data, optimizer: any Optimizer, recipe: Recipe, ring: Ring,
        representation: @escaping (_ batch: Data.Batch, _ tape: Tape) throws -> Tensor,
        globalLoss: @escaping (_ representations: Tensor, _ tape: Tape) throws -> Loss
    ) throws {
        try self.init(model: model, data: data, optimizer: optimizer, recipe: recipe, ring: ring) { _, _ in
            preconditionFailure("the loss is that of the global batch")
        }
        self.globalLoss = GlobalLoss(representation: representation, loss: globalLoss)
    }

    /// The first two of the three parts, if the loss is global: once a step, before its micro-batches are passed, and once more for
    /// every ring that is formed in it, as some ranks may have got them and others not.
    func prepareGlobalLoss(_ step: StepPlan.Step) throws {
        guard let globalLoss else { return }
        if let prepared = preparedLoss, prepared.step == step.number, prepared.generation == ring.generation { return }
        let share = step.microBatches(rank: ring.place, worldSize: ring.worldSize)
        let count = step.positions.count
        var representations: [Float] = []
        var shape: [Int] = []
        // A rank without micro-batches passes one all the same: it has to know the shape.
        for id in share.isEmpty ? 0..<1 : share {
            let positions = step.positions(ofMicroBatch: id)
            let output = try globalLoss.representation(beginPass(step, microBatch: id), tape)
            precondition(output.shape.first == positions.count, "\(output.shape) for \(positions.count) samples")
            precondition(shape.isEmpty || Array(output.shape.dropFirst()) == shape, "\(output.shape) after \(shape)")
            shape = Array(output.shape.dropFirst())
            let size = shape.reduce(1, *)
            if representations.isEmpty { representations = [Float](repeating: 0, count: count * size) }
            guard !share.isEmpty else { break }
            let first = (positions.lowerBound - step.positions.lowerBound) * size
            // Plus zero, as in the ring's sum: it has no negative zeros, and a world of one has none either.
            for (index, value) in output.values.enumerated() { representations[first + index] = value + 0 }
        }
        // Every place is written by one rank and zero on all others: the sum is what was written.
        try representations.withUnsafeMutableBufferPointer { try ring.allReduce($0) }

        let tape = Tape()
        // No micro-batch has this number, so that random numbers of the loss are its own.
        tape.begin(Pass(seed: recipe.seed, step: step.number, microBatch: -1, isTraining: true))
        let variable = tape.variable(representations, [count] + shape)
        let loss = try globalLoss.loss(variable, tape)
        let sum = Double(loss.sum.item)
        tape.backward(from: loss)
        preparedLoss = GlobalLoss.Prepared(
            representations: representations, gradient: tape.gradient(of: variable), sampleCount: count, weight: loss.weight,
            sum: sum, generation: ring.generation, step: step.number)
    }

    /// The third part for one micro-batch. Its weight and loss are its samples' share of the whole.
    func globalPass(
        _ globalLoss: GlobalLoss<Data.Batch>, _ step: StepPlan.Step, microBatch id: Int, beforeBackward: () -> Void,
        gradientReady: (Parameter, UnsafeMutableBufferPointer<Float>) -> Void
    ) throws -> (weight: Double, lossSum: Double) {
        guard let prepared = preparedLoss else { preconditionFailure("a global loss is prepared before its passes") }
        let positions = step.positions(ofMicroBatch: id)
        let first = positions.lowerBound - step.positions.lowerBound
        let places = prepared.places(first..<first + positions.count)
        let output = try globalLoss.representation(beginPass(step, microBatch: id), tape)
        let same = zip(output.values, prepared.representations[places]).allSatisfy { $0 == $1 || ($0.isNaN && $1.isNaN) }
        guard same, output.count == places.count else {
            throw TrainingError.representationsDiffer(step: step.number + 1, microBatch: id)
        }
        let share = Double(positions.count) / Double(prepared.sampleCount)
        beforeBackward()
        prepared.gradient.withUnsafeBufferPointer { gradient in
            tape.backward(
                from: output, gradient: UnsafeBufferPointer(rebasing: gradient[places]), weight: prepared.weight * share,
                gradientReady: gradientReady)
        }
        return (prepared.weight * share, prepared.sum * share)
    }
}
