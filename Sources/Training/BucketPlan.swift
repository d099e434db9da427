/// Which parameters are reduced together: plain arithmetic over an arena's layout.
///
/// Parameters stand in the arena in about the order in which a backward pass finishes them, so each bucket is a stretch of the
/// arena, and the first buckets can be on their way while backward still computes the last ones.
package struct BucketPlan: Equatable, Sendable {
    /// The arena's elements that a bucket covers, gaps included; together they cover the arena.
    package let ranges: [Range<Int>]
    /// The parts (parameters) of each bucket.
    package let parts: [Range<Int>]
    /// The bucket of each part.
    package let bucketOfPart: [Int]

    /// Enough to pay for an operation, small enough that little is left to send when backward ends: that matters on a slow wire.
    package static let usualElements = 64 * 1024

    /// - Parameters:
    ///   - offsets: the first element of each part, ascending.
    ///   - count: the arena's elements.
    ///   - atLeast: a bucket ends with the part that makes it this large.
    package init(offsets: [Int], count: Int, atLeast: Int = BucketPlan.usualElements) {
        var ranges: [Range<Int>] = []
        var parts: [Range<Int>] = []
        var bucketOfPart: [Int] = []
        var firstPart = 0
        for part in offsets.indices {
            bucketOfPart.append(ranges.count)
            let end = part + 1 < offsets.count ? offsets[part + 1] : count
            guard end - offsets[firstPart] >= atLeast || part + 1 == offsets.count else { continue }
            ranges.append(offsets[firstPart]..<end)
            parts.append(firstPart..<(part + 1))
            firstPart = part + 1
        }
        self.ranges = ranges
        self.parts = parts
        self.bucketOfPart = bucketOfPart
    }
}
