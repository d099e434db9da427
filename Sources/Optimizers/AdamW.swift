import CTensorKernels

/// Adam with decoupled weight decay, exactly as `torch.optim.AdamW` defines it, with step t from 1:
///
///     p *= 1 - rate * decay;  m += (g - m)(1 - beta1);  v = beta2 v + (1 - beta2) g^2
///     p -= rate / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
///
/// Source: I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", arXiv:1711.05101.
public struct AdamW: Optimizer {
    /// The decay rate of the first moment.
    public let beta1: Double
    /// The decay rate of the second moment.
    public let beta2: Double
    /// What is added to the root of the second moment.
    public let epsilon: Double
    /// Times the learning rate, the part of a weight that is taken off each step; for parameters that decay.
    public let weightDecay: Double

    /// The defaults are PyTorch's.
    public init(beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8, weightDecay: Double = 0.01) {
        precondition((0..<1).contains(beta1) && (0..<1).contains(beta2), "betas are in 0 ..< 1: \(beta1), \(beta2)")
        precondition(epsilon >= 0 && epsilon.isFinite, "epsilon is not negative: \(epsilon)")
        precondition(weightDecay >= 0 && weightDecay.isFinite, "weight decay is not negative: \(weightDecay)")
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weightDecay = weightDecay
    }

    public var stateNames: [String] { ["first_moment", "second_moment"] }

    public func update(_ part: ArenaPart, with step: OptimizerStep) {
        precondition(part.state.count == stateNames.count, "AdamW's state is \(stateNames)")
        let rate = step.learningRate / (1 - power(beta1, step.number))
        let inverseRoot = 1 / (1 - power(beta2, step.number)).squareRoot()
        part.forEachRun { first, count, decays in
            tensor_adamw(
                part.values + first, part.gradients + first, part.state[0] + first, part.state[1] + first, count,
                step.gradientScale, Float(decays ? 1 - step.learningRate * weightDecay : 1), Float(rate),
                Float(1 - beta1), Float(beta2), Float(1 - beta2), Float(inverseRoot), Float(epsilon))
        }
    }

    /// By repeated squaring: the C library's power function may differ from one host to the next.
    private func power(_ base: Double, _ exponent: Int) -> Double {
        var (result, square, rest) = (1.0, base, exponent)
        while rest > 0 {
            if rest & 1 == 1 { result *= square }
            square *= square
            rest >>= 1
        }
        return result
    }
}
