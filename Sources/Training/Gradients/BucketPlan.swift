import Optimizers

/// Which parameters are reduced together: plain arithmetic over an arena's layout.
///
/// Parameters stand in the arena in about the order in which a backward pass finishes them, so each bucket is a stretch of the
/// arena, and the first buckets can be on their way while backward still computes the last ones.
package struct BucketPlan: Equatable, Sendable {
    /// The arena's elements that a bucket covers, gaps included; together they cover the arena. Trained parameters and statistics are not
    /// in one bucket.
    package let ranges: [Range<Int>]
    /// How many of `ranges` hold what is trained: the first ones.
    package let trainedCount: Int
    /// The buckets in which each part (parameter) has elements; none for a part without any.
    package let bucketsOfPart: [Range<Int>]
    /// How many parts have elements in each bucket.
    package let partCounts: [Int]

    /// Enough to pay for an operation, small enough that little is left to send when backward ends: that matters on a slow wire.
    package static let usualElements = 64 * 1024
    /// The sums of two buckets stand beside the partial sums (`SumLayout`): large parts are reduced in pieces.
    package static let mostElements = 1 << 20

    /// - Parameters:
    ///   - offsets: the first element of each part, ascending.
    ///   - trainedEnd: where what is trained ends; statistics follow. A part begins there, or the arena ends.
    ///   - count: the arena's elements.
    ///   - atLeast: a bucket ends with the part that makes it this large, or with the last block that lies within that part.
    ///   - atMost: what is larger is cut into pieces, about equal ones.
    ///   - block: buckets begin at multiples of it, so that a block of the gradient's norm lies in one bucket; but for the statistics'.
    package init(
        offsets: [Int], trainedEnd: Int, count: Int, atLeast: Int = BucketPlan.usualElements,
        atMost: Int = BucketPlan.mostElements, block: Int = GradientNorm.blockSize
    ) {
        let ends = offsets.dropFirst() + (offsets.isEmpty ? [] : [count])
        var ranges: [Range<Int>] = []
        var start = 0
        for end in ends {
            let isLast = end == trainedEnd || end == count
            let cut = isLast ? end : end / block * block
            guard cut > start, isLast || cut - start >= atLeast else { continue }
            let pieces = (cut - start + atMost - 1) / atMost
            let piece = ((cut - start + pieces - 1) / pieces + block - 1) / block * block
            while cut > start {
                ranges.append(start..<min(start + piece, cut))
                start = min(start + piece, cut)
            }
        }
        self.ranges = ranges
        trainedCount = ranges.prefix { $0.upperBound <= trainedEnd }.count
        bucketsOfPart = zip(offsets, ends).map { offset, end in
            guard offset < end, let first = ranges.firstIndex(where: { $0.contains(offset) }),
                let last = ranges.lastIndex(where: { $0.contains(end - 1) })
            else { return 0..<0 }
            return first..<(last + 1)
        }
        var partCounts = [Int](repeating: 0, count: ranges.count)
        for bucket in bucketsOfPart.joined() { partCounts[bucket] += 1 }
        self.partCounts = partCounts
    }

    /// The buckets of what is trained.
    package var trained: ArraySlice<Range<Int>> { ranges[..<trainedCount] }
}
