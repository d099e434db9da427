import CReductionKernels

/// A worker's usual float32 partial sum of its micro-batches' gradients: what `--reduction fp32` takes instead of
/// `ExactAccumulator`. Owns its memory, 64-byte aligned; threads as there.
public final class FloatAccumulator {
    private var arena: SumArena<Float>

    public var parts: [ExactAccumulator.Part] { arena.parts }
    /// The arena of partial sums.
    public var sums: UnsafeMutablePointer<Float> { arena.memory }

    public init(count: Int, parts: [ExactAccumulator.Part]) {
        arena = SumArena(count: count, parts: parts)
    }

    /// Forgets all sums.
    public func begin() {
        arena.begin()
    }

    /// Adds one micro-batch's gradient of a part. False if an element of it is NaN or infinite.
    public func accumulate(_ gradient: UnsafePointer<Float>, part index: Int) -> Bool {
        let (sum, count, holdsSum) = arena.add(part: index)
        // SAFETY: the part lies within the arena (checked in init) and the gradient has its length by contract.
        if holdsSum {
            lockstep_combine(LOCKSTEP_F32, LOCKSTEP_SUM, sum, sum, gradient, count)
        } else {
            sum.update(from: gradient, count: count)
        }
        return lockstep_largest_magnitude(gradient, count) < LOCKSTEP_INFINITY_BITS
    }

    /// Makes a part that got nothing in this step a sum of zero.
    public func settle(part index: Int) {
        arena.settle(part: index)
    }
}
