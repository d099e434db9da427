import Datasets
import Tensors

/// What a model was found to be worth on data that it is not trained on.
public struct Evaluation: Sendable, Equatable {
    /// The mean over all items.
    public var loss: Double
    /// The part of the items that were classified rightly, where the task counts them.
    public var accuracy: Double?
    /// The weight of all items: samples, or tokens.
    public var weight: Double
}

/// One micro-batch's part of an evaluation.
public struct Score {
    public var loss: Loss
    /// Items classified rightly; nil where that means nothing.
    public var correct: Int?

    public init(loss: Loss, correct: Int? = nil) {
        self.loss = loss
        self.correct = correct
    }
}

extension Trainer {
    /// Evaluates on all samples of a data set, in their order, in micro-batches of the recipe's size that the ranks share; the figures
    /// are the same bits on every rank and for any number of them.
    ///
    /// `score` runs the model forward; nothing is recorded and dropout is off. Throws as `step` does.
    public func evaluate<Other: Dataset>(
        _ data: Other, score: (_ batch: Other.Batch, _ tape: Tape) throws -> Score
    ) throws -> Evaluation {
        let plan = try StepPlan(count: data.count, globalBatch: data.count, microBatch: min(recipe.microBatch, data.count)).step(0)
        let tape = Tape(parameters: arena, precision: recipe.precision)
        // Weight, loss and count of each micro-batch stand in places of their own; the ring's sum adds zeros to them.
        var places = [Double](repeating: 0, count: plan.microBatchCount * 3 + 1)
        for id in plan.microBatches(rank: rank, worldSize: worldSize) {
            let batch = try data.batch(epoch: 0, Array(plan.positions(ofMicroBatch: id)))
            tape.begin(.inference)
            let result = try score(batch, tape)
            places[id * 3] = result.loss.weight
            places[id * 3 + 1] = Double(result.loss.sum.item)
            places[id * 3 + 2] = Double(result.correct ?? 0)
            if result.correct != nil { places[places.count - 1] += 1 }
        }
        try places.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
        func total(_ place: Int) -> Double {
            (0..<plan.microBatchCount).reduce(0) { $0 + places[$1 * 3 + place] }
        }
        let countsCorrect = places[places.count - 1] == Double(plan.microBatchCount)
        return Evaluation(loss: total(1) / total(0), accuracy: countsCorrect ? total(2) / total(0) : nil, weight: total(0))
    }
}
