import CReductionKernels
import Glibc

/// A worker's exact partial sum of the gradients of its micro-batches: one float64 a parameter element, on the tensor's grid.
///
/// The ring does not write what it may still have to read, so that what a worker has summed survives the loss of a
/// peer: the sums of all workers go to memory of the caller's, or, with a `SumLayout`, take the place of carriers that
/// nobody needs any more. Owns its memory, 64-byte aligned. Used by the compute thread; the ring's thread uses a range
/// after it was handed over and before the reduction of that range ends.
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

    /// For sums that go to memory of the caller's.
    public convenience init(count: Int, parts: [Part], grids: [Grid]) {
        self.init(count: count, parts: parts, grids: grids, layout: nil)
    }

    package init(count: Int, parts: [Part], grids: [Grid], layout: SumLayout?) {
        precondition(parts.count == grids.count)
        self.count = count
        self.grids = grids
        arena = SumArena(count: count, parts: parts, layout: layout)
    }

    /// Forgets all sums and takes new grids: the beginning of a step. Costs nothing per element.
    public func begin(grids: [Grid]) {
        precondition(grids.count == parts.count)
        self.grids = grids
        arena.begin()
    }

    /// Adds one micro-batch's gradient of part `index`, `parts[index].count` float32, to the sum. The sum is
    /// meaningless after a verdict other than `.fits`. Where all workers' sum is finished it has the gradient already,
    /// which is only judged.
    public func accumulate(_ gradient: UnsafePointer<Float>, part index: Int) -> Verdict {
        let (sum, finished, count, holdsSum) = arena.add(part: index)
        let grid = grids[index]
        let kernel = holdsSum ? lockstep_carrier_accumulate : lockstep_carrier_set
        // SAFETY: the part lies within the arena (checked in init) and the gradient has its length by contract.
        let largest = max(
            lockstep_largest_magnitude(gradient, finished), kernel(sum, gradient + finished, count, grid.magic))
        if largest >= LOCKSTEP_INFINITY_BITS { return .notFinite }
        return grid.fits(magnitudeBits: largest) ? .fits : .misfit
    }

    /// Makes every part that got nothing in this step a sum of zero: called before the ring reads a range.
    public func settle(part index: Int) {
        arena.settle(part: index)
    }

    // MARK: With a layout

    /// The sums of all workers, laid out like the carriers: of the ranges that are finished.
    package var results: UnsafeMutablePointer<Float> { arena.results }
    /// The elements below it have their sums, and no carriers any more.
    package var finished: Int { arena.finished }

    /// Where the ring is to write the sums of the layout's range of that number: when it has been given all ranges
    /// before it, in order.
    package func landing(ofRange number: Int) -> UnsafeMutablePointer<Float> { arena.landing(ofRange: number) }

    /// The range's operation has ended, as those of all before it have: it is finished, and has no carriers any more.
    package func finish(range number: Int) { arena.finish(range: number) }

    /// The sums of the first range that is not finished were written to `results`: it is now.
    package func take(range number: Int) { arena.take(range: number) }
}
