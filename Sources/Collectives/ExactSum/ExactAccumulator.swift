import CReductionKernels
import Glibc

/// A worker's exact partial sum of the gradients of its micro-batches: one float64 a parameter element, on the tensor's grid.
///
/// The ring reads this memory and never writes it, so that what a worker has summed survives the loss of a peer.
/// Owns its memory, 64-byte aligned. Used by the compute thread; the ring's thread reads a range after it was handed over and
/// before the reduction of that range ends.
public final class ExactAccumulator {
    /// One tensor's place in the arena.
    public struct Part: Sendable {
        public var offset: Int
        public var count: Int

        public init(offset: Int, count: Int) {
            self.offset = offset
            self.count = count
        }
    }

    /// What one micro-batch's gradient of one tensor was found to be.
    public enum Verdict: Equatable, Sendable {
        case fits
        /// An element is beyond the grid's limit: the step must be redone on a coarser grid.
        case misfit
        /// An element is NaN or infinite: no grid helps.
        case notFinite
    }

    public let count: Int
    public var parts: [Part] { arena.parts }
    /// One grid a part. Changed only between steps, or before a step is redone, when no sum is held.
    public private(set) var grids: [Grid]
    /// The carrier arena, `count` float64.
    public var carriers: UnsafeMutablePointer<Double> { arena.memory }
    private var arena: SumArena<Double>

    public init(count: Int, parts: [Part], grids: [Grid]) {
        precondition(parts.count == grids.count)
        self.count = count
        self.grids = grids
        arena = SumArena(count: count, parts: parts)
    }

    /// Forgets all sums and takes new grids: the beginning of a step. Costs nothing per element.
    public func begin(grids: [Grid]) {
        precondition(grids.count == parts.count)
        self.grids = grids
        arena.begin()
    }

    /// Adds one micro-batch's gradient of part `index`, `parts[index].count` float32, to the sum. The sum is meaningless after a
    /// verdict other than `.fits`.
    public func accumulate(_ gradient: UnsafePointer<Float>, part index: Int) -> Verdict {
        let (sum, count, holdsSum) = arena.add(part: index)
        let grid = grids[index]
        let kernel = holdsSum ? lockstep_carrier_accumulate : lockstep_carrier_set
        // SAFETY: the part lies within the arena (checked in init) and the gradient has its length by contract.
        let largest = kernel(sum, gradient, count, grid.magic)
        if largest >= LOCKSTEP_INFINITY_BITS { return .notFinite }
        return grid.fits(magnitudeBits: largest) ? .fits : .misfit
    }

    /// Makes every part that got nothing in this step a sum of zero: called before the ring reads a range.
    public func settle(part index: Int) {
        arena.settle(part: index)
    }
}
