import Tensors

/// Zeroes elements with probability `rate` while training.
public struct Dropout: Layer {
    public let rate: Float

    public init(_ rate: Float) { self.rate = rate }

    public func callAsFunction(_ input: Tensor) -> Tensor { input.dropout(rate) }
}
