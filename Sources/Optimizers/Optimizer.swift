import Tensors

/// A rule that turns gradients into new values, element by element, on any part of an arena at a time.
///
/// Whole arena, bucket or shard: an element's result is the same bits, because it depends on that element's value,
/// gradient and state only. Where there are zeros in a parameter arena's gaps, zeros stay.
public protocol Optimizer: Sendable {
    /// The names of the state arenas it keeps, as a checkpoint stores them: one float an arena element each, zero at
    /// first.
    var stateNames: [String] { get }

    /// Updates one part of the arena in place.
    func update(_ part: ArenaPart, with step: OptimizerStep)
}

/// What a step has in common for all its parts.
public struct OptimizerStep: Sendable, Hashable {
    /// How many steps there will have been with this one: 1 for the first.
    public var number: Int
    /// The learning rate of this step.
    public var learningRate: Double
    /// What every gradient is multiplied by first: 1 / weight, times the factor that clips.
    public var gradientScale: Float

    /// Step `number`, counted from 1.
    public init(number: Int, learningRate: Double, gradientScale: Float = 1) {
        precondition(number >= 1, "optimizer steps are counted from 1, not from \(number)")
        self.number = number
        self.learningRate = learningRate
        self.gradientScale = gradientScale
    }
}

/// A part of the arena for an optimizer to work on: places `range`, of which every pointer holds one float each.
///
/// Borrowed for the call; the memory belongs to the caller.
public struct ArenaPart {
    /// The arena's places that the part covers.
    public let range: Range<Int>
    /// The weights, changed in place.
    public let values: UnsafeMutablePointer<Float>
    /// The gradients, still to be multiplied by the step's `gradientScale`.
    public let gradients: UnsafePointer<Float>
    /// In the order of `stateNames`.
    public let state: [UnsafeMutablePointer<Float>]
    /// Where weight decay applies, as `ParameterArena.decayRuns` has it; must cover the range.
    public let decayRuns: [(range: Range<Int>, decays: Bool)]

    /// All pointers hold `range.count` floats, alive for the call of `update`.
    public init(
        range: Range<Int>, values: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>,
        state: [UnsafeMutablePointer<Float>], decayRuns: [(range: Range<Int>, decays: Bool)]
    ) {
        self.range = range
        self.values = values
        self.gradients = gradients
        self.state = state
        self.decayRuns = decayRuns
    }

    /// Calls the body for each stretch in which `decays` does not change, with its first element's place within the
    /// part.
    func forEachRun(_ body: (_ first: Int, _ count: Int, _ decays: Bool) -> Void) {
        for run in decayRuns {
            let common = run.range.clamped(to: range)
            if !common.isEmpty { body(common.lowerBound - range.lowerBound, common.count, run.decays) }
        }
    }
}
