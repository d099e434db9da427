import CTensorKernels

/// Stochastic gradient descent with momentum, exactly as `torch.optim.SGD` defines it:
///
///     g = gradient + decay * p;  v = momentum * v + g;  p -= rate * (nesterov ? g + momentum * v : v)
///
/// Weight decay applies to every parameter that decays (PyTorch would apply it to all).
/// Source: I. Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013, in
/// PyTorch's variant.
public struct SGD: Optimizer {
    /// What the velocity keeps from step to step; 0 for none.
    public let momentum: Double
    /// Whether the step looks ahead along the velocity.
    public let nesterov: Bool
    /// What part of a weight is added to its gradient; for parameters that decay.
    public let weightDecay: Double

    /// The defaults are those of PyTorch: no momentum, no decay.
    public init(momentum: Double = 0, nesterov: Bool = false, weightDecay: Double = 0) {
        precondition(momentum >= 0 && momentum.isFinite, "momentum is not negative: \(momentum)")
        precondition(weightDecay >= 0 && weightDecay.isFinite, "weight decay is not negative: \(weightDecay)")
        precondition(!nesterov || momentum > 0, "Nesterov's rule needs a momentum")
        self.momentum = momentum
        self.nesterov = nesterov
        self.weightDecay = weightDecay
    }

    public var stateNames: [String] { momentum == 0 ? [] : ["momentum"] }

    public func update(_ part: ArenaPart, with step: OptimizerStep) {
        precondition(part.state.count == stateNames.count, "SGD's state is \(stateNames)")
        part.forEachRun { first, count, decays in
            tensor_sgd(
                part.values + first, part.gradients + first, part.state.first.map { $0 + first }, count,
                step.gradientScale, Float(step.learningRate), Float(momentum), decays ? Float(weightDecay) : 0, nesterov)
        }
    }
}
