/// Which ranks hold which stretches, as they tell each other: arithmetic on which all ranks agree.
package struct ShardHoldings: Equatable {
    /// By place.
    package var ranges: [[Range<Int>]]

    package init(ranges: [[Range<Int>]]) {
        self.ranges = ranges
    }

    /// The stretches between which nothing changes in who holds them or is to hold them, at most `limit` long, covering `0 ..< count`.
    package func stretches(count: Int, wanted: [[Range<Int>]], limit: Int) -> [Range<Int>] {
        let ends = Set((ranges + wanted).joined().flatMap { [$0.lowerBound, $0.upperBound] } + [0, count]).sorted()
        return zip(ends, ends.dropFirst()).flatMap { lower, upper in
            stride(from: lower, to: upper, by: limit).map { $0..<min($0 + limit, upper) }
        }
    }

    /// The lowest place that holds all of a stretch; nil if it is lost.
    package func holder(of stretch: Range<Int>) -> Int? {
        ranges.firstIndex { $0.contains { $0.lowerBound <= stretch.lowerBound && stretch.upperBound <= $0.upperBound } }
    }
}
