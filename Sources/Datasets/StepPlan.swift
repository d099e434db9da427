/// Which positions of which epoch each step and each micro-batch takes: pure arithmetic, no divisibility asked for.
///
/// An epoch's positions `0 ..< count` are cut into global batches, one a step, and each global batch into
/// micro-batches. The last global batch of an epoch and the last micro-batch of a step may be smaller; nothing is
/// dropped, repeated or carried into the next epoch, so each sample is used exactly once per epoch. With 10 samples,
/// a global batch of 4 and a micro-batch of 3:
///
///     step 0   positions 0 1 2 3   micro-batches 0 1 2 | 3
///     step 1   positions 4 5 6 7   micro-batches 4 5 6 | 7
///     step 2   positions 8 9       micro-batches 8 9
///     step 3   epoch 1, positions 0 1 2 3, and so on
///
/// A position becomes a sample through `SampleOrder`. Nothing here depends on the number of workers; only `share` does,
/// and it merely says who computes which micro-batch.
public struct StepPlan: Sendable, Hashable {
    /// The number of samples in an epoch.
    public let count: Int
    /// The number of samples a step takes, except at the end of an epoch.
    public let globalBatch: Int
    /// The number of samples in a micro-batch, except in the last one of a step.
    public let microBatch: Int

    /// - Throws: `DatasetError.batchSizes` unless `count` is positive and `1 <= microBatch <= globalBatch`. A global
    ///   batch larger than the data is allowed: each step is then a whole epoch.
    public init(count: Int, globalBatch: Int, microBatch: Int) throws(DatasetError) {
        guard count >= 1, microBatch >= 1, globalBatch >= microBatch else {
            throw .batchSizes(samples: count, globalBatch: globalBatch, microBatch: microBatch)
        }
        self.count = count
        self.globalBatch = globalBatch
        self.microBatch = microBatch
    }

    /// The number of steps in an epoch: `count / globalBatch`, rounded up.
    public var stepsPerEpoch: Int { (count - 1) / globalBatch + 1 }

    /// The number of steps in `epochs` whole epochs. A product too large for an `Int` gives `Int.max`, since a run of
    /// that length does not end either way.
    public func steps(epochs: Int) -> Int {
        precondition(epochs >= 0, "\(epochs) epochs")
        let (steps, overflow) = stepsPerEpoch.multipliedReportingOverflow(by: epochs)
        return overflow ? Int.max : steps
    }

    /// What step `number` takes. Steps are counted from 0: step `n` is the one that runs when `n` steps are committed.
    public func step(_ number: Int) -> Step {
        precondition(number >= 0, "step \(number)")
        let (epoch, stepInEpoch) = number.quotientAndRemainder(dividingBy: stepsPerEpoch)
        let first = stepInEpoch * globalBatch
        return Step(
            number: number, epoch: epoch, stepInEpoch: stepInEpoch,
            positions: first..<(first + min(globalBatch, count - first)), microBatch: microBatch)
    }

    /// One rank's static share of a step's micro-batches: contiguous, and of sizes that differ by one at most, the larger
    /// ones first. 8 micro-batches on 3 workers are 0..<3, 3..<6 and 6..<8. Ranks beyond the last micro-batch get none.
    public static func share(ofMicroBatches count: Int, rank: Int, worldSize: Int) -> Range<Int> {
        precondition(count >= 0 && rank >= 0 && rank < worldSize, "rank \(rank) of \(worldSize), \(count) micro-batches")
        let (each, left) = count.quotientAndRemainder(dividingBy: worldSize)
        let first = rank * each + min(rank, left)
        return first..<(first + each + (rank < left ? 1 : 0))
    }

    /// One step's part of the data.
    public struct Step: Sendable, Hashable {
        /// The step's number, from 0, over the whole run.
        public let number: Int
        /// The epoch it belongs to, from 0.
        public let epoch: Int
        /// Its number within the epoch, from 0.
        public let stepInEpoch: Int
        /// The epoch's positions that it takes: `globalBatch` of them, or what the epoch has left.
        public let positions: Range<Int>

        let microBatch: Int

        /// The number of micro-batches, at least one.
        public var microBatchCount: Int { (positions.count - 1) / microBatch + 1 }

        /// The epoch's positions that micro-batch `id` takes; ids are `0 ..< microBatchCount`.
        public func positions(ofMicroBatch id: Int) -> Range<Int> {
            precondition(id >= 0 && id < microBatchCount, "micro-batch \(id) of \(microBatchCount)")
            let first = positions.lowerBound + id * microBatch
            return first..<(first + min(microBatch, positions.upperBound - first))
        }

        /// The micro-batches of this step that `rank` computes under the static schedule.
        public func microBatches(rank: Int, worldSize: Int) -> Range<Int> {
            StepPlan.share(ofMicroBatches: microBatchCount, rank: rank, worldSize: worldSize)
        }
    }
}
