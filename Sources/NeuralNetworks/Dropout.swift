import Tensors

/// Zeroes elements with probability `rate` while training.
public struct Dropout: Layer {
    /// The probability with which an element is zeroed.
    public let rate: Float

    /// `rate` is in 0 ..< 1.
    public init(_ rate: Float) { self.rate = rate }

    /// The same shape. What is kept is divided by 1 - rate while training; otherwise nothing changes.
    public func callAsFunction(_ input: Tensor) -> Tensor { input.dropout(rate) }
}
