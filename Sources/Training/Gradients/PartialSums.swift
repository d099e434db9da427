import Collectives
import Optimizers
import Tensors

/// One worker's sums of its micro-batches' gradients, in the form in which a reduction takes them to the ring, and all
/// workers' sums.
///
/// Where every rank gets all sums, they take the place of partial sums, bucket by bucket (`SumLayout`); where each gets
/// a part, they have memory of their own, and what a rank has summed stays whole. Owns the memory. Used by the compute
/// thread.
package final class PartialSums {
    private enum Accumulator {
        case exact(ExactAccumulator)
        case float32(FloatAccumulator)
        case bfloat16(BFloatAccumulator)
    }

    private let accumulator: Accumulator
    private let buckets: [Range<Int>]
    /// Instead of the place of partial sums.
    private let own: SparseFloats?
    /// How many of the first buckets have their sums for good: what is summed in them from now on is only judged.
    package private(set) var finishedBuckets = 0

    /// - Parameters:
    ///   - takesPlace: whether all workers' sums take the place of partial sums.
    ///   - grids: for the exact sum.
    package init(
        _ arena: ParameterArena, buckets: [Range<Int>], reduction: Recipe.ReductionMode, takesPlace: Bool,
        grids: [Grid]?
    ) {
        let parts = arena.parameters.map { ExactAccumulator.Part(offset: $0.offset, count: $0.count) }
        func layout(stride: Int) -> SumLayout? { takesPlace ? SumLayout(ranges: buckets, stride: stride) : nil }
        self.buckets = buckets
        own = takesPlace ? nil : SparseFloats(count: arena.count)
        accumulator =
            switch reduction {
            case .exact:
                .exact(ExactAccumulator(count: arena.count, parts: parts, grids: grids!, layout: layout(stride: 8)))
            case .fp32: .float32(FloatAccumulator(count: arena.count, parts: parts, layout: layout(stride: 4)))
            case .bf16: .bfloat16(BFloatAccumulator(count: arena.count, parts: parts))
            }
    }

    /// The sums of those that add up in float32.
    private var floats: FloatAccumulator? {
        switch accumulator {
        case .exact: nil
        case .float32(let accumulator): accumulator
        case .bfloat16(let accumulator): accumulator.partial
        }
    }

    /// All workers' sums, laid out as the parameter arena: of what is finished, and in the end of all that this rank
    /// gets. Valid until the next `begin`.
    package var results: UnsafeMutablePointer<Float> {
        if let own { return own.start }
        return switch accumulator {
        case .exact(let accumulator): accumulator.results
        case .float32(let accumulator): accumulator.results
        case .bfloat16(let accumulator): accumulator.partial.sums
        }
    }

    /// Forgets all sums; the exact ones are on other grids from now on, if any are given.
    package func begin(grids: [Grid]?) {
        if case .exact(let accumulator) = accumulator { accumulator.begin(grids: grids ?? accumulator.grids) }
        floats?.begin()
        finishedBuckets = 0
    }

    /// Gives memory back that holds sums which are of no more use, on a ring on which this rank gets others.
    package func forgetResults() {
        own?.clear()
    }

    /// Adds one micro-batch's gradient of a parameter.
    package func accumulate(_ gradient: UnsafePointer<Float>, part index: Int) -> ExactAccumulator.Verdict {
        switch accumulator {
        case .exact(let accumulator): accumulator.accumulate(gradient, part: index)
        case .float32(let accumulator): accumulator.accumulate(gradient, part: index) ? .fits : .notFinite
        case .bfloat16(let accumulator): accumulator.partial.accumulate(gradient, part: index) ? .fits : .notFinite
        }
    }

    /// Makes a parameter that got nothing in this step a sum of zero.
    package func settle(part index: Int) {
        if case .exact(let accumulator) = accumulator { accumulator.settle(part: index) }
        floats?.settle(part: index)
    }

    /// Gives a bucket to the ring, after all before it.
    ///
    /// - Parameter reach: who gets the sums.
    package func start(_ bucket: Int, over ring: Ring, for reach: Ring.Reach) throws -> Ring.Ticket {
        let range = buckets[bucket]
        let landing = own.map { $0.start + range.lowerBound }
        switch accumulator {
        case .exact(let accumulator):
            return try ring.startSum(
                ofCarriers: UnsafeBufferPointer(start: accumulator.carriers + range.lowerBound, count: range.count),
                into: landing ?? accumulator.landing(ofRange: bucket), for: reach)
        case .float32(let accumulator):
            return try ring.startSum(
                of: UnsafeBufferPointer(start: accumulator.sums + range.lowerBound, count: range.count),
                into: landing ?? accumulator.landing(ofRange: bucket), for: reach)
        case .bfloat16(let accumulator):
            return try ring.startSum(of: accumulator.round(range), for: reach)
        }
    }

    /// The operations of all buckets below `end` have ended on this rank.
    package func finish(through end: Int) {
        guard own == nil else { return }
        for bucket in finishedBuckets..<max(end, finishedBuckets) {
            switch accumulator {
            case .exact(let accumulator): accumulator.finish(range: bucket)
            case .float32(let accumulator): accumulator.finish(range: bucket)
            // Its partial sums are needed until all are there.
            case .bfloat16: return
            }
            finishedBuckets = bucket + 1
        }
    }

    /// Gets the sums of some buckets from the member at a place that has them, bucket by bucket: whenever the ring
    /// breaks, some of the first are finished, and beyond them all partial sums are what they were. All before them are
    /// finished here, and some of them may be.
    package func receive(_ numbers: Range<Int>, from holder: Int, over ring: Ring) throws {
        for bucket in numbers {
            let range = buckets[bucket]
            // Those who have these sums have the same bits.
            let sums = UnsafeMutableBufferPointer(start: results + range.lowerBound, count: range.count)
            try ring.broadcast(sums, from: holder)
            guard bucket == finishedBuckets else { continue }
            switch accumulator {
            case .exact(let accumulator): accumulator.take(range: bucket)
            case .float32(let accumulator): accumulator.take(range: bucket)
            case .bfloat16: preconditionFailure("sums in bfloat16 are finished all at once")
            }
            finishedBuckets = bucket + 1
        }
    }

    /// All operations of the step have ended. Where sums take the place of partial sums, those are gone: no other
    /// operation may come before the sums have been used.
    ///
    /// - Parameter received: the elements of a bucket that this rank has got.
    package func finishAll(received: (_ bucket: Int) -> [Range<Int>]) {
        finish(through: buckets.count)
        guard case .bfloat16(let accumulator) = accumulator else { return }
        for bucket in buckets.indices {
            for range in received(bucket) { accumulator.widen(range, into: results + range.lowerBound) }
        }
    }
}
