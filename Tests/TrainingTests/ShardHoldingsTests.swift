import Testing
import Training

/// Who holds what: the arithmetic on which all ranks agree before state moves.
@Suite struct ShardHoldingsTests {
    /// What n members keep of `count` elements: chunk i is with i and i + 1.
    private func layout(_ worldSize: Int, _ count: Int) -> [[Range<Int>]] {
        let chunks = (0..<worldSize).map { $0 * count / worldSize..<($0 + 1) * count / worldSize }
        return (0..<worldSize).map { place in
            (worldSize == 1 ? [chunks[0]] : [chunks[place], chunks[(place + worldSize - 1) % worldSize]]).filter { !$0.isEmpty }
        }
    }

    /// Any one may go, and any number of them that are no neighbours.
    @Test(arguments: [2, 3, 4, 5, 8], [0, 1, 7, 100]) func whoMayGo(worldSize: Int, count: Int) {
        for gone in 0..<(1 << worldSize) - 1 {
            let isGone = { (place: Int) in gone >> (place % worldSize) & 1 == 1 }
            let whole = layout(worldSize, count)
            let held = ShardHoldings(ranges: whole.indices.map { isGone($0) ? [] : whole[$0] })
            let survivors = whole.indices.filter { !isGone($0) }
            let stretches = held.stretches(count: count, wanted: layout(survivors.count, count), limit: 16)
            #expect(stretches.flatMap { Array($0) } == Array(0..<count) && stretches.allSatisfy { (1...16).contains($0.count) })
            let isLost = stretches.contains { held.holder(of: $0) == nil }
            let bothGone = (0..<worldSize).contains { place in
                isGone(place) && isGone(place + 1) && !(place * count / worldSize..<(place + 1) * count / worldSize).isEmpty
            }
            #expect(isLost == bothGone, "\(gone) of \(worldSize)")
            for stretch in stretches {
                guard let holder = held.holder(of: stretch) else { continue }
                #expect(!isGone(holder) && whole[holder].contains { $0.contains(stretch.lowerBound) && $0.contains(stretch.upperBound - 1) })
            }
        }
    }
}
