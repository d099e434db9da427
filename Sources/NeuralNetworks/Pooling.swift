import Tensors

/// The largest of each window: (N, H, W, C) to (N, H', W', C).
public struct MaxPool2d: Layer {
    /// Rows and columns of a window.
    public let kernel: Int
    /// Rows and columns from one window to the next.
    public let stride: Int

    /// The stride is the kernel's size unless given.
    public init(_ kernel: Int, stride: Int? = nil) {
        self.kernel = kernel
        self.stride = stride ?? kernel
    }

    /// (N, H, W, C) to (N, H', W', C).
    public func callAsFunction(_ input: Tensor) -> Tensor { input.maxPooled(kernel, stride: stride) }
}

/// The mean of each window: (N, H, W, C) to (N, H', W', C).
public struct AveragePool2d: Layer {
    /// Rows and columns of a window.
    public let kernel: Int
    /// Rows and columns from one window to the next.
    public let stride: Int

    /// The stride is the kernel's size unless given.
    public init(_ kernel: Int, stride: Int? = nil) {
        self.kernel = kernel
        self.stride = stride ?? kernel
    }

    /// (N, H, W, C) to (N, H', W', C).
    public func callAsFunction(_ input: Tensor) -> Tensor { input.averagePooled(kernel, stride: stride) }
}

/// All dimensions but the first as one: (N, ...) to (N, C). Of images that is row by row, a position's channels together.
public struct Flatten: Layer {
    /// A layer without parameters.
    public init() {}

    /// (N, ...) to (N, the product of the rest).
    public func callAsFunction(_ input: Tensor) -> Tensor {
        input.reshaped([input.shape[0], input.shape.dropFirst().reduce(1, *)])
    }
}
