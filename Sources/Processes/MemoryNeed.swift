/// What a pass over a model takes in each worker, as far as it grows with the model: a function of numbers that may come from anybody's flags or
/// file, in Doubles, which do not overflow.
package struct MemoryNeed: Equatable, Sendable {
    package var parameters: Double
    /// For each parameter, in every worker.
    package var bytesPerParameter: Double
    /// The same, on one worker of a host: what a checkpoint is copied to while it is written.
    package var copyBytesPerParameter = 0.0
    /// The gradients that a backward pass has at hand at a time.
    package var gradientBytes = 0.0
    /// What one micro-batch leaves for its backward pass.
    package var activationBytes = 0.0
    /// Workers on the host.
    package var workers = 1

    package init(parameters: Double, bytesPerParameter: Double) {
        self.parameters = parameters
        self.bytesPerParameter = bytesPerParameter
    }

    /// What there is not enough memory for.
    package enum Excess: Equatable {
        case model(neededBytes: Double, MemoryAllowance)
        /// `leftBytes` is what there is beside the model.
        case activations(neededBytes: Double, leftBytes: Double, MemoryAllowance)
    }

    /// nil where there is enough.
    package func excess(over facts: MemoryFacts) -> Excess? {
        let allowance = facts.allowance(workers: workers)
        // Nothing times more than a Double holds is nothing.
        let copy = copyBytesPerParameter == 0 ? 0 : parameters * copyBytesPerParameter
        var model = parameters * bytesPerParameter + gradientBytes
        switch allowance.source {
        // One of those that share it copies.
        case .machine, .group: model += copy / Double(max(workers, 1))
        case .addressSpace, .data: model += copy
        }
        let left = Double(allowance.bytes) - model
        guard left >= 0 else { return .model(neededBytes: model, allowance) }
        return activationBytes > left ? .activations(neededBytes: activationBytes, leftBytes: left, allowance) : nil
    }
}
