import Tensors

/// Convolution of images (N, H, W, inputs) with `outputs` square kernels: to (N, H', W', outputs).
public struct Conv2d: Layer, FusingLayer {
    /// (outputs, inputs, kernel, kernel), as PyTorch stores it.
    public let weight: Parameter
    /// (outputs); nil for none.
    public let bias: Parameter?
    /// Rows and columns from one window to the next.
    public let stride: Int
    /// Rows and columns of zeros around an image.
    public let padding: Int

    /// First values as PyTorch draws them, uniform within 1 / sqrt(inputs * kernel * kernel), unless others are given.
    public init(
        _ inputs: Int, _ outputs: Int, kernel: Int, stride: Int = 1, padding: Int = 0, bias: Bool = true,
        weight initialization: Initialization? = nil, bias biasInitialization: Initialization? = nil
    ) {
        let usual = Initialization.uniform(bound: 1 / Float(max(inputs * kernel * kernel, 1)).squareRoot())
        weight = Parameter([outputs, inputs, kernel, kernel], initialization ?? usual)
        self.bias = bias ? Parameter([outputs], biasInitialization ?? usual) : nil
        self.stride = stride
        self.padding = padding
    }

    /// (N, H, W, inputs) to (N, H', W', outputs).
    public func callAsFunction(_ input: Tensor) -> Tensor { self(input, activation: .none) }

    /// The convolution and what follows it.
    public func callAsFunction(_ input: Tensor, activation: Activation) -> Tensor {
        let y = input.convolved(weight, bias: bias, stride: stride, padding: padding, relu: activation == .relu)
        return activation == .relu ? y : y.applying(activation)
    }
}
