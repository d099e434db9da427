/// Where finished sums stand when they take the place of partial sums: arithmetic over the ranges of an arena, which
/// are reduced in their order.
///
/// Sums of 4 bytes stand at 4 i, partial sums of `stride` bytes at lead + stride i. So a range's sums land on partial
/// sums of ranges before it, and may do so as soon as no operation reads those any more. Of the ring's operations only
/// the one before a range's may be under way when its first sum lands (a slice starts when the one `RingLayout.window`
/// before it has ended): the lead is as long as the sums of two ranges at most, however long the arena is. Short
/// operations go by exchanges, which may be ahead of the ring or behind it: their sums land beside, and are moved. No
/// range's sums stand on its own partial sums, which are needed until all of the sums are there.
package struct SumLayout: Equatable, Sendable {
    package let ranges: [Range<Int>]
    /// A multiple of 64.
    package let leadBytes: Int
    /// Where each range's sums land beside, in elements; nil where they land in their place.
    package let beside: [Int?]
    /// The elements of all that land beside.
    package let besideCount: Int

    /// - Parameters:
    ///   - ranges: in order, without common elements.
    ///   - stride: bytes of a partial sum: 8 for carriers, 4 for float32.
    package init(ranges: [Range<Int>], stride: Int) {
        let isInOrder = zip(ranges, ranges.dropFirst()).allSatisfy { $0.upperBound <= $1.lowerBound }
        precondition(isInOrder, "ranges are in order")
        let sumBytes = MemoryLayout<Float>.stride
        var (lead, beside, besideCount) = (0, [Int?](), 0)
        var long: [Range<Int>] = []
        var firstShort: Range<Int>?
        for range in ranges {
            guard range.count * stride > SumLayout.longestShortBytes else {
                beside.append(besideCount)
                besideCount += range.count
                lead = max(lead, range.upperBound * sumBytes - range.lowerBound * stride)
                firstShort = firstShort ?? range
                continue
            }
            beside.append(nil)
            long.append(range)
            let oldest = long.suffix(RingLayout.window).first ?? range
            let inUse = min(oldest.lowerBound, firstShort?.lowerBound ?? .max)
            lead = max(lead, range.upperBound * sumBytes - inUse * stride)
        }
        self.ranges = ranges
        self.beside = beside
        self.besideCount = besideCount
        leadBytes = (lead + 63) / 64 * 64
    }

    /// Partial sums of so many bytes may go by an exchange, in a ring of two; the longer the ring, the fewer.
    private static var longestShortBytes: Int { ExchangeProtocol<RingConnections>.longestBlock(worldSize: 2) }
}
