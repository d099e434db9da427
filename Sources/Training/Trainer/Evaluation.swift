import Collectives
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
    /// are the same bits on every rank and for any number of them, whichever are lost on the way.
    ///
    /// `score` runs the model forward, on the tape of the training passes, whose memory it uses; nothing is recorded and
    /// dropout is off. Throws as `step` does.
    public func evaluate<Other: Dataset>(
        _ data: Other, score: (_ batch: Other.Batch, _ tape: Tape) throws -> Score
    ) throws -> Evaluation {
        let plan = try StepPlan(count: data.count, globalBatch: data.count, microBatch: min(recipe.microBatch, data.count)).step(0)
        // What this rank has found, by micro-batch: it stays found when the others' is lost.
        var found: [Int: (weight: Double, loss: Double, correct: Int?)] = [:]
        let totals = try ring.section {
            // Every micro-batch has places of its own, of which the sum over ranks is one rank's figures and zeros.
            let share = plan.microBatches(rank: ring.place, worldSize: ring.worldSize)
            var places = [Double](repeating: 0, count: plan.microBatchCount * 4)
            for id in share {
                try visit(.evaluation(id))
                if found[id] == nil {
                    let batch = try data.batch(epoch: 0, Array(plan.positions(ofMicroBatch: id)))
                    tape.begin(.inference)
                    let result = try score(batch, tape)
                    found[id] = (result.loss.weight, Double(result.loss.sum.item), result.correct)
                }
                let figures = found[id]!
                let correct = figures.correct.map { Double($0) }
                places.replaceSubrange(id * 4..<id * 4 + 4, with: [figures.weight, figures.loss, correct ?? 0, correct == nil ? 0 : 1])
            }
            try places.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
            return (0..<4).map { kind in (0..<plan.microBatchCount).reduce(0) { $0 + places[$1 * 4 + kind] } }
        }.values
        let countsCorrect = totals[3] == Double(plan.microBatchCount)
        return Evaluation(loss: totals[1] / totals[0], accuracy: countsCorrect ? totals[2] / totals[0] : nil, weight: totals[0])
    }
}
