import CReductionKernels

/// A worker's usual float32 partial sum of its micro-batches' gradients: what `--reduction fp32` takes instead of
/// `ExactAccumulator`. Owns its memory, 64-byte aligned; threads as there.
public final class FloatAccumulator {
    private var arena: SumArena<Float>

    public var parts: [ExactAccumulator.Part] { arena.parts }
    /// The arena of partial sums.
    public var sums: UnsafeMutablePointer<Float> { arena.memory }

    /// For sums that go to memory of the caller's.
    public convenience init(count: Int, parts: [ExactAccumulator.Part]) {
        self.init(count: count, parts: parts, layout: nil)
    }

    package init(count: Int, parts: [ExactAccumulator.Part], layout: SumLayout?) {
        arena = SumArena(count: count, parts: parts, layout: layout)
    }

    /// Forgets all sums.
    public func begin() {
        arena.begin()
    }

    /// Adds one micro-batch's gradient of a part. False if an element of it is NaN or infinite.
    public func accumulate(_ gradient: UnsafePointer<Float>, part index: Int) -> Bool {
        let (sum, finished, count, holdsSum) = arena.add(part: index)
        // SAFETY: the part lies within the arena (checked in init) and the gradient has its length by contract.
        if holdsSum {
            lockstep_combine(LOCKSTEP_F32, LOCKSTEP_SUM, sum, sum, gradient + finished, count)
        } else {
            sum.update(from: gradient + finished, count: count)
        }
        return lockstep_largest_magnitude(gradient, finished + count) < LOCKSTEP_INFINITY_BITS
    }

    /// Makes a part that got nothing in this step a sum of zero.
    public func settle(part index: Int) {
        arena.settle(part: index)
    }

    // MARK: With a layout, as `ExactAccumulator`

    package var results: UnsafeMutablePointer<Float> { arena.results }
    package func landing(ofRange number: Int) -> UnsafeMutablePointer<Float> { arena.landing(ofRange: number) }
    package func finish(range number: Int) { arena.finish(range: number) }
    package func take(range number: Int) { arena.take(range: number) }
}
