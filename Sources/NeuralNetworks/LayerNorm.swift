import Tensors

/// Normalises the last dimension to mean 0 and variance 1, then scales it by a gain and adds a bias, if it has one.
public struct LayerNorm: Layer {
    public let weight: Parameter
    public let bias: Parameter?
    public let epsilon: Float

    public init(_ columns: Int, bias: Bool = true, epsilon: Float = 1e-5) {
        weight = Parameter([columns], .ones)
        self.bias = bias ? Parameter([columns], .zeros) : nil
        self.epsilon = epsilon
    }

    public func callAsFunction(_ input: Tensor) -> Tensor {
        input.layerNormalized(gain: weight, bias: bias, epsilon: epsilon)
    }
}
