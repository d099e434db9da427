import Testing
import Training

/// Who keeps what, and who sends it: the arithmetic on which all ranks agree before state moves.
@Suite struct ShardHoldingsTests {
    /// Two buckets, the second of which does not end with a grain.
    private func layout(_ worldSize: Int, _ count: Int) -> ShardLayout {
        let first = count / 3 / 4 * 4
        return ShardLayout(buckets: [0..<first, first..<count].filter { !$0.isEmpty }, worldSize: worldSize, grain: 4)
    }

    @Test(arguments: [1, 2, 3, 4, 5, 8], [0, 1, 7, 100]) func everyElementHasAnOwnerAndACopy(worldSize: Int, count: Int) {
        let layout = layout(worldSize, count)
        let owned = (0..<worldSize).flatMap { layout.chunks(ofOwner: $0).joined() }
        #expect(owned.sorted() == Array(0..<count))
        for place in 0..<worldSize {
            let kept = layout.owners(keptAt: place).flatMap { layout.chunks(ofOwner: $0).joined() }
            #expect(layout.kept(at: place).joined().sorted() == kept.sorted())
            #expect(layout.owners(keptAt: (place + 1) % worldSize).contains(place))
            for (chunk, bucket) in zip(layout.chunks(ofOwner: place), layout.buckets) {
                #expect((chunk.lowerBound - bucket.lowerBound) % 4 == 0 || chunk.isEmpty)
                #expect(abs(chunk.count - bucket.count / worldSize) <= 4)
            }
        }
    }

    /// Any one may go, and any number of them that are no neighbours.
    @Test(arguments: [2, 3, 4, 5, 8], [0, 1, 7, 100]) func whoMayGo(worldSize: Int, count: Int) {
        let layout = layout(worldSize, count)
        let whole = (0..<worldSize).map { layout.kept(at: $0) }
        for gone in 0..<(1 << worldSize) - 1 {
            let isGone = { (place: Int) in gone >> (place % worldSize) & 1 == 1 }
            let held = ShardHoldings(ranges: whole.indices.map { isGone($0) ? [] : whole[$0] })
            let parcels = held.parcels(count: count, limit: 16)
            #expect(parcels.flatMap { $0.stretches.joined() } == Array(0..<count) && parcels.allSatisfy { (1...16).contains($0.count) })
            let isLost = parcels.contains { $0.holder == nil }
            let bothGone = (0..<worldSize).contains { place in
                isGone(place) && isGone(place + 1) && !layout.chunks(ofOwner: place).joined().isEmpty
            }
            #expect(isLost == bothGone, "\(gone) of \(worldSize)")
            for parcel in parcels {
                guard let holder = parcel.holder else { continue }
                let elements = Set(whole[holder].joined())
                #expect(!isGone(holder) && parcel.stretches.joined().allSatisfy(elements.contains))
            }
        }
    }

    /// Short stretches of one holder go together; long ones in parts.
    @Test func parcels() {
        let held = ShardHoldings(ranges: [[0..<3, 3..<5, 40..<41], [5..<40]])
        #expect(
            held.parcels(count: 41, limit: 16) == [
                .init(holder: 0, stretches: [0..<3, 3..<5]), .init(holder: 1, stretches: [5..<21]), .init(holder: 1, stretches: [21..<37]),
                .init(holder: 1, stretches: [37..<40]), .init(holder: 0, stretches: [40..<41]),
            ])
    }

    /// What has come counts where anybody knows that all have theirs, and with it the sums; and else what was there before.
    @Test func whatHasArrivedCountsOnceAllHaveTheirs() {
        let old = ShardReport.Share(position: .init(worldSize: 6, place: 3), number: 4)
        let new = ShardReport.Share(position: .init(worldSize: 4, place: 1), number: 6)
        let sums = ShardReport.Position(worldSize: 5, place: 2)
        for sumsArrived in [false, true] {
            let report = ShardReport(kept: old, arrived: new, sumsArrived: sumsArrived, sums: sums, updates: 7)
            #expect(ShardReport(report.numbers[...]) == report && report.numbers.count == ShardReport.width)
            #expect(report.number == 4)
            #expect(report.position(in: 4) == old.position && report.position(in: 6) == new.position && report.position(in: 5) == nil)
            #expect(report.sums(in: 4) == sums)
            #expect(report.sums(in: 6) == (sumsArrived ? new.position : sums))
        }
        let none = ShardReport(kept: nil, arrived: nil, sumsArrived: false, sums: nil, updates: 0)
        #expect(ShardReport(none.numbers[...]) == none && none.number == -1 && none.position(in: -1) == nil)
    }
}
