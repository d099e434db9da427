import Tensors

/// The largest of each window: (N, H, W, C) to (N, H', W', C).
public struct MaxPool2d: Layer {
    public let kernel: Int
    public let stride: Int

    /// The stride is the kernel's size unless given.
    public init(_ kernel: Int, stride: Int? = nil) {
        self.kernel = kernel
        self.stride = stride ?? kernel
    }

    public func callAsFunction(_ input: Tensor) -> Tensor { input.maxPooled(kernel, stride: stride) }
}

/// The mean of each window: (N, H, W, C) to (N, H', W', C).
public struct AveragePool2d: Layer {
    public let kernel: Int
    public let stride: Int

    /// The stride is the kernel's size unless given.
    public init(_ kernel: Int, stride: Int? = nil) {
        self.kernel = kernel
        self.stride = stride ?? kernel
    }

    public func callAsFunction(_ input: Tensor) -> Tensor { input.averagePooled(kernel, stride: stride) }
}

/// All dimensions but the first as one: (N, ...) to (N, C). Of images that is row by row, a position's channels together.
public struct Flatten: Layer {
    public init() {}

    public func callAsFunction(_ input: Tensor) -> Tensor {
        input.reshaped([input.shape[0], input.shape.dropFirst().reduce(1, *)])
    }
}
