import Tensors

/// x + f(x)
public struct Residual: Layer {
    /// f
    public let body: any Layer

    /// `body` maps a shape to itself.
    public init(_ body: any Layer) { self.body = body }

    /// The same shape.
    public func callAsFunction(_ input: Tensor) -> Tensor { input + body(input) }
}
