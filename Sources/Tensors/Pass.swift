/// What one forward and backward pass is for. Random numbers are keyed by it, and by nothing else: not by the rank,
/// so that whichever worker runs a micro-batch draws the same ones.
public struct Pass: Sendable, Hashable {
    public var seed: UInt64
    /// The optimizer step, from 0.
    public var step: Int
    /// The micro-batch's number within the step, from 0.
    public var microBatch: Int
    /// Whether operations are recorded for a backward pass, and dropout drops.
    public var isTraining: Bool

    public init(seed: UInt64 = 0, step: Int = 0, microBatch: Int = 0, isTraining: Bool) {
        self.seed = seed
        self.step = step
        self.microBatch = microBatch
        self.isTraining = isTraining
    }

    /// A pass that records nothing and drops nothing.
    public static let inference = Pass(isTraining: false)
}
