import CTensorKernels

/// The learning rate as a function of the step, from 0: linear warm-up, then constant or a cosine down to a minimum.
///
/// As nanoGPT has it: rate * (step + 1) / (warmup + 1) below `warmupSteps`; then, with a decay that ends at step E,
/// minimum + (rate - minimum) / 2 * (1 + cos(pi * (step - warmup) / (E - warmup))), and the minimum after E. Every
/// host gets the same bits: the cosine is not the C library's.
///
/// Source: I. Loshchilov, F. Hutter, "SGDR", arXiv:1608.03983.
public struct Schedule: Sendable, Hashable {
    /// What follows the warm-up.
    public enum Decay: Sendable, Hashable {
        /// The rate stays.
        case constant
        /// Half a cosine to `minimum` at step `endStep`, and `minimum` from there on.
        case cosine(endStep: Int, minimum: Double)
    }

    /// The largest rate, at the end of the warm-up.
    public var learningRate: Double
    /// Steps over which the rate rises; 0 for none.
    public var warmupSteps: Int
    /// What follows the warm-up.
    public var decay: Decay

    /// By default a constant rate.
    public init(learningRate: Double, warmupSteps: Int = 0, decay: Decay = .constant) {
        precondition(warmupSteps >= 0, "warm-up steps are not negative: \(warmupSteps)")
        self.learningRate = learningRate
        self.warmupSteps = warmupSteps
        self.decay = decay
    }

    /// The rate of a step, counted from 0.
    public func learningRate(atStep step: Int) -> Double {
        if step < warmupSteps { return learningRate * Double(step + 1) / Double(warmupSteps + 1) }
        guard case .cosine(let endStep, let minimum) = decay else { return learningRate }
        if step > endStep || endStep <= warmupSteps { return minimum }
        let progress = Double(step - warmupSteps) / Double(endStep - warmupSteps)
        return minimum + 0.5 * (1 + tensor_cosine_of_turns(0.5 * progress)) * (learningRate - minimum)
    }
}
