import Optimizers
import Tensors

/// What the resulting bits depend on, besides the model, the data, the build and the CPU: nothing that names workers is here.
public struct Recipe: Sendable {
    /// How long to train.
    public enum Length: Sendable, Equatable {
        case steps(Int)
        case epochs(Int)
    }

    /// How gradients are summed.
    public enum ReductionMode: String, Sendable, CaseIterable {
        /// On a power-of-two grid, in float64: the same bits for any number of workers.
        case exact
        /// In float32, like everyone else: two thirds of the bytes, and bits that depend on the number of workers.
        case fp32
        /// In float32 within a worker and bfloat16 between workers: a third of the bytes of `exact`, 8 bits of significand for each
        /// addition on the way, and bits that depend on the number of workers. What is summed besides, such as running averages of batch
        /// normalisation, is rounded alike.
        case bf16
    }

    /// Of the initial weights, the order of the samples, and dropout.
    public var seed: UInt64
    /// Samples per optimizer step; the last step of an epoch may have fewer.
    public var globalBatch: Int
    /// Samples in one forward and backward pass; the last one of a step may have fewer.
    public var microBatch: Int
    public var length: Length
    public var schedule: Schedule
    /// The largest global gradient norm that a step is taken with; nil for no limit.
    public var clipNorm: Double?
    public var reduction: ReductionMode
    /// Of matrix products; the CPU must support it.
    public var precision: Precision

    public init(
        globalBatch: Int, microBatch: Int, length: Length, schedule: Schedule, seed: UInt64 = 1, clipNorm: Double? = nil,
        reduction: ReductionMode = .exact, precision: Precision = .float32
    ) {
        self.seed = seed
        self.globalBatch = globalBatch
        self.microBatch = microBatch
        self.length = length
        self.schedule = schedule
        self.clipNorm = clipNorm
        self.reduction = reduction
        self.precision = precision
    }
}
