import Collectives
import Optimizers
import Tensors

/// What a step asks of the sums of its gradients: the same bits on every rank.
struct GradientSurvey {
    /// The sums of squares of the blocks of what is trained (`GradientNorm`).
    var blockSums: [Double]
    /// The largest magnitude of each trained parameter, in the arena's order.
    var largest: [Float]

    /// Of sums that are all here, laid out as the arena.
    init(_ arena: ParameterArena, sums: UnsafeMutableBufferPointer<Float>) {
        (blockSums, largest) = GradientNorm.survey(
            UnsafeBufferPointer(rebasing: sums[arena.trainedRange]), partEnds: arena.trainedPartEnds)
    }

    /// Of sums of which each rank has a part; all ranks tell each other what they see in theirs.
    ///
    /// - Parameter chunks: the part of what is trained of which this rank tells: in order, and beginning and ending with blocks.
    init(
        _ arena: ParameterArena, sums: UnsafeMutableBufferPointer<Float>, chunks: [Range<Int>], over ring: Ring
    ) throws {
        let ends = arena.trainedPartEnds
        let blocks = (arena.trainedRange.count + GradientNorm.blockSize - 1) / GradientNorm.blockSize
        // Neither a sum of squares nor a magnitude is below zero, so that the largest of all ranks' numbers is that of the one that has it.
        var seen = [Double](repeating: 0, count: blocks + ends.count)
        var part = 0
        for chunk in chunks where !chunk.isEmpty {
            while ends[part] <= chunk.lowerBound { part += 1 }
            let last = ends[part...].firstIndex { $0 >= chunk.upperBound }!
            let (squares, largest) = GradientNorm.survey(
                UnsafeBufferPointer(rebasing: sums[chunk]),
                partEnds: ends[part...last].map { min($0, chunk.upperBound) - chunk.lowerBound })
            let block = chunk.lowerBound / GradientNorm.blockSize
            seen.replaceSubrange(block..<(block + squares.count), with: squares)
            for (index, magnitude) in zip(part...last, largest) {
                // Not max(): a NaN is to stay.
                let before = seen[blocks + index]
                seen[blocks + index] = before.isNaN || before > Double(magnitude) ? before : Double(magnitude)
            }
        }
        try seen.withUnsafeMutableBufferPointer { try ring.allReduce($0, .max) }
        blockSums = Array(seen[..<blocks])
        largest = seen[blocks...].map { Float($0) }
    }
}
