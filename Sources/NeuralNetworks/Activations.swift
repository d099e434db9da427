import Tensors

/// A layer that can apply an activation to its result while it is at hand.
protocol FusingLayer: Layer {
    func callAsFunction(_ input: Tensor, activation: Activation) -> Tensor
}

/// A layer without parameters that a `FusingLayer` before it can take into its own pass over memory.
protocol ActivationLayer: Layer {
    var activation: Activation { get }
}

extension ActivationLayer {
    public func callAsFunction(_ input: Tensor) -> Tensor { input.applying(activation) }
}

/// max(x, 0)
public struct ReLU: ActivationLayer {
    public init() {}
    var activation: Activation { .relu }
}

/// x Phi(x), exact or in GPT-2's tanh approximation.
public struct GELU: ActivationLayer {
    public enum Kind: String, Sendable, Hashable {
        case exact, tanh
    }

    public let kind: Kind

    public init(_ kind: Kind = .exact) { self.kind = kind }

    var activation: Activation { kind.activation }
}

extension GELU.Kind {
    var activation: Activation { self == .exact ? .geluExact : .geluTanh }
}
