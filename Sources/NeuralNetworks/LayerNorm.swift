import Tensors

/// Normalises the last dimension to mean 0 and variance 1, then scales it by a gain and adds a bias, if it has one.
public struct LayerNorm: Layer {
    /// (columns) what the normalized row is multiplied by.
    public let weight: Parameter
    /// (columns) what is added after that; nil for nothing.
    public let bias: Parameter?
    /// What is added to the variance before its root is taken.
    public let epsilon: Float

    /// For rows of `columns`; gain 1 and bias 0 at first.
    public init(_ columns: Int, bias: Bool = true, epsilon: Float = 1e-5) {
        weight = Parameter([columns], .ones)
        self.bias = bias ? Parameter([columns], .zeros) : nil
        self.epsilon = epsilon
    }

    /// (..., columns) to the same shape.
    public func callAsFunction(_ input: Tensor) -> Tensor {
        input.layerNormalized(gain: weight, bias: bias, epsilon: epsilon)
    }
}
