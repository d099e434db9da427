import Tensors

/// Normalises each channel, the last dimension, over all samples and positions of a micro-batch: (..., C) to (..., C).
///
/// While training, the statistics are those of the micro-batch at hand; evaluation uses running averages of them, which move once
/// a step, towards the mean over its micro-batches weighted like the loss. That mean is summed exactly, so the averages are the same
/// bits for any number of workers; they are model state, and checkpoints hold them as `runningMean` and `runningVariance`.
/// PyTorch's averages move once a micro-batch instead: with several of them in a step, a momentum of 0.1 here is slower.
public struct BatchNorm: Layer, FusingLayer {
    /// (C) what the normalized channels are multiplied by.
    public let weight: Parameter
    /// (C) what is added to them after that.
    public let bias: Parameter
    /// (C) the running mean, a statistic: what evaluation subtracts.
    public let runningMean: Parameter
    /// (C) the running variance, a statistic: what evaluation divides by the root of.
    public let runningVariance: Parameter
    /// What is added to a variance before its root is taken.
    public let epsilon: Float

    /// For `channels` channels. Running averages move by `momentum` of the difference once a step.
    public init(_ channels: Int, epsilon: Float = 1e-5, momentum: Float = 0.1, weight initialization: Initialization = .ones) {
        weight = Parameter([channels], initialization)
        bias = Parameter([channels], .zeros)
        runningMean = Parameter(statistic: [channels], .zeros, momentum: momentum)
        runningVariance = Parameter(statistic: [channels], .ones, momentum: momentum)
        self.epsilon = epsilon
    }

    /// (..., C) to the same shape, normalized.
    public func callAsFunction(_ input: Tensor) -> Tensor { self(input, activation: .none) }

    /// The normalisation and what follows it.
    public func callAsFunction(_ input: Tensor, activation: Activation) -> Tensor {
        let y = input.batchNormalized(
            gain: weight, bias: bias, averageMean: runningMean, averageVariance: runningVariance, epsilon: epsilon,
            relu: activation == .relu)
        return activation == .relu ? y : y.applying(activation)
    }
}
