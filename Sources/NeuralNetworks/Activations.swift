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
    /// A layer without parameters: max(x, 0).
    public init() {}
    var activation: Activation { .relu }
}

/// x Phi(x), exact or in GPT-2's tanh approximation.
public struct GELU: ActivationLayer {
    /// Which of the two formulas.
    public enum Kind: String, Sendable, Hashable {
        /// `exact`: x Phi(x), Phi the normal distribution. `tanh`: GPT-2's approximation of it.
        case exact, tanh
    }

    /// Which of the two formulas it computes.
    public let kind: Kind

    /// A layer without parameters.
    public init(_ kind: Kind = .exact) { self.kind = kind }

    var activation: Activation { kind.activation }
}

extension GELU.Kind {
    var activation: Activation { self == .exact ? .geluExact : .geluTanh }
}
