import Tensors

/// y = x W^T + b, with W (outputs, inputs) as PyTorch stores it.
public struct Linear: Layer, FusingLayer {
    /// (outputs, inputs)
    public let weight: Parameter
    /// (outputs); nil for none.
    public let bias: Parameter?

    /// First values as PyTorch draws them, uniform within 1 / sqrt(inputs), unless others are given.
    public init(
        _ inputs: Int, _ outputs: Int, bias: Bool = true, weight initialization: Initialization? = nil,
        bias biasInitialization: Initialization? = nil
    ) {
        let usual = Initialization.uniform(bound: 1 / Float(max(inputs, 1)).squareRoot())
        weight = Parameter([outputs, inputs], initialization ?? usual)
        self.bias = bias ? Parameter([outputs], biasInitialization ?? usual) : nil
    }

    /// (..., inputs) to (..., outputs).
    public func callAsFunction(_ input: Tensor) -> Tensor { input.linear(weight, bias: bias) }

    /// The map and what follows it in one pass over memory.
    public func callAsFunction(_ input: Tensor, activation: Activation) -> Tensor {
        input.linear(weight, bias: bias, activation: activation)
    }
}
