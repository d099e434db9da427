import Tensors

/// Normalises each channel, the last dimension, over all samples and positions of a micro-batch: (..., C) to (..., C).
///
/// While training, the statistics are those of the micro-batch at hand; evaluation uses running averages of them, which move once
/// a step, towards the mean over its micro-batches weighted like the loss. That mean is summed exactly, so the averages are the same
/// bits for any number of workers; they are model state, and checkpoints hold them as `runningMean` and `runningVariance`.
/// PyTorch's averages move once a micro-batch instead: with several of them in a step, a momentum of 0.1 here is slower.
public struct BatchNorm: Layer, FusingLayer {
    public let weight: Parameter
    public let bias: Parameter
    public let runningMean: Parameter
    public let runningVariance: Parameter
    public let epsilon: Float

    public init(_ channels: Int, epsilon: Float = 1e-5, momentum: Float = 0.1, weight initialization: Initialization = .ones) {
        weight = Parameter([channels], initialization)
        bias = Parameter([channels], .zeros)
        runningMean = Parameter(statistic: [channels], .zeros, momentum: momentum)
        runningVariance = Parameter(statistic: [channels], .ones, momentum: momentum)
        self.epsilon = epsilon
    }

    public func callAsFunction(_ input: Tensor) -> Tensor { self(input, activation: .none) }

    /// The normalisation and what follows it.
    public func callAsFunction(_ input: Tensor, activation: Activation) -> Tensor {
        let y = input.batchNormalized(
            gain: weight, bias: bias, averageMean: runningMean, averageVariance: runningVariance, epsilon: epsilon,
            relu: activation == .relu)
        return activation == .relu ? y : y.applying(activation)
    }
}
