import Collectives
import Optimizers
import Tensors

/// One worker's sums of its micro-batches' gradients, in the form in which a reduction takes them to the ring. Owns their memory.
enum PartialSums {
    case exact(ExactAccumulator)
    case float32(FloatAccumulator)
    case bfloat16(BFloatAccumulator)

    /// - Parameter grids: for the exact sum.
    init(_ arena: ParameterArena, reduction: Recipe.ReductionMode, grids: [Grid]?) {
        let parts = arena.parameters.map { ExactAccumulator.Part(offset: $0.offset, count: $0.count) }
        self =
            switch reduction {
            case .exact: .exact(ExactAccumulator(count: arena.count, parts: parts, grids: grids!))
            case .fp32: .float32(FloatAccumulator(count: arena.count, parts: parts))
            case .bf16: .bfloat16(BFloatAccumulator(count: arena.count, parts: parts))
            }
    }

    /// The sums of those that add up in float32.
    private var floats: FloatAccumulator? {
        switch self {
        case .exact: nil
        case .float32(let accumulator): accumulator
        case .bfloat16(let accumulator): accumulator.partial
        }
    }

    /// Forgets all sums; the exact ones are on other grids from now on, if any are given.
    func begin(grids: [Grid]?) {
        if case .exact(let accumulator) = self { accumulator.begin(grids: grids ?? accumulator.grids) }
        floats?.begin()
    }

    /// Adds one micro-batch's gradient of a parameter.
    func accumulate(_ gradient: UnsafeMutablePointer<Float>, part index: Int) -> ExactAccumulator.Verdict {
        switch self {
        case .exact(let accumulator): accumulator.accumulate(gradient, part: index)
        case .float32(let accumulator): accumulator.accumulate(gradient, part: index) ? .fits : .notFinite
        case .bfloat16(let accumulator): accumulator.partial.accumulate(gradient, part: index) ? .fits : .notFinite
        }
    }

    /// Makes a parameter that got nothing in this step a sum of zero.
    func settle(part index: Int) {
        if case .exact(let accumulator) = self { accumulator.settle(part: index) }
        floats?.settle(part: index)
    }

    /// Gives a range of the arena to the ring; `finish` takes it from there, once the ticket has been waited for.
    ///
    /// - Parameters:
    ///   - result: where the range begins in the arena of gradients, which holds all workers' sums in the end.
    ///   - reach: who gets them.
    func start(
        _ range: Range<Int>, into result: UnsafeMutablePointer<Float>, over ring: Ring, for reach: Ring.Reach
    ) throws -> Ring.Ticket {
        switch self {
        case .exact(let accumulator):
            let carriers = UnsafeBufferPointer(start: accumulator.carriers + range.lowerBound, count: range.count)
            return try ring.startSum(ofCarriers: carriers, into: result, for: reach)
        case .float32(let accumulator):
            let sums = UnsafeBufferPointer(start: accumulator.sums + range.lowerBound, count: range.count)
            return try ring.startSum(of: sums, into: result, for: reach)
        case .bfloat16(let accumulator):
            return try ring.startSum(of: accumulator.round(range), for: reach)
        }
    }

    func finish(_ range: Range<Int>, into result: UnsafeMutablePointer<Float>) {
        if case .bfloat16(let accumulator) = self { accumulator.widen(range, into: result) }
    }
}
