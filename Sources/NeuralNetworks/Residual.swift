import Tensors

/// x + f(x)
public struct Residual: Layer {
    public let body: any Layer

    public init(_ body: any Layer) { self.body = body }

    public func callAsFunction(_ input: Tensor) -> Tensor { input + body(input) }
}
