import Collectives
import Tensors
import TestSupport
import Testing
import Training

/// Sums that take the place of partial sums, where a ring breaks among them.
@Suite struct PartialSumsTests {
    private static let ranges = [0..<20_000, 20_000..<70_000, 70_000..<120_016, 120_016..<120_064]

    private static func gradient(_ rank: Int, _ index: Int) -> Float { Float((rank + 1) * (index % 61 + 1)) }

    /// Of the first two buckets one rank has both sums, one has one, and one has none. All get them, what comes later
    /// is added to the others only, and those are reduced then.
    @Test(arguments: [Recipe.ReductionMode.exact, .fp32])
    func sumsThatOneRankHasGoToAll(reduction: Recipe.ReductionMode) throws {
        try inWorld(of: 3) { ring in
            let arena = ParameterArena(
                [48, 100_000, 20_005].enumerated().map { ("p\($0)", Parameter([$1], .zeros)) }, seed: 1)
            try #require(arena.count == Self.ranges.last!.upperBound)
            let grids = [Grid](repeating: Grid(limitExponent: 10, parts: 4), count: 3)
            let sums = PartialSums(arena, buckets: Self.ranges, reduction: reduction, takesPlace: true, grids: grids)
            func add(_ rank: Int) {
                for parameter in arena.parameters {
                    let gradient = parameter.range.map { Self.gradient(rank, $0) }
                    #expect(sums.accumulate(gradient, part: parameter.index) == .fits)
                }
            }
            // What the second step finds is what the first has left.
            for _ in 0..<2 {
                sums.begin(grids: grids)
                add(ring.rank)
                for bucket in 0..<2 { try ring.wait(for: sums.start(bucket, over: ring, for: .everyMember)) }
                sums.finish(through: 2 - ring.rank)
                #expect(sums.finishedBuckets == 2 - ring.rank)
                try sums.receive(0..<2, from: 0, over: ring)
                #expect(sums.finishedBuckets == 2)
                if ring.rank == 1 { add(3) }
                for bucket in 2..<4 { try ring.wait(for: sums.start(bucket, over: ring, for: .everyMember)) }
                sums.finishAll { _ in [] }
                let inGaps = { (index: Int) in arena.parameters.allSatisfy { !$0.range.contains(index) } }
                let wrong = (0..<arena.count).first { index in
                    let ranks = index < Self.ranges[1].upperBound ? 0..<3 : 0..<4
                    let expected = inGaps(index) ? 0 : ranks.reduce(0) { $0 + Self.gradient($1, index) }
                    return sums.results[index] != expected
                }
                #expect(wrong == nil, "rank \(ring.rank)")
            }
        }
    }

    /// Where a rank gets a part of the sums, its own partial sums stay as they were.
    @Test(arguments: [Recipe.ReductionMode.exact, .fp32, .bf16])
    func partialSumsStayWhereSumsAreSharedOut(reduction: Recipe.ReductionMode) throws {
        try inWorld(of: 3) { ring in
            let arena = ParameterArena([("a", Parameter([100_000], .zeros))], seed: 1)
            let buckets = [0..<40_960, 40_960..<arena.count]
            let sums = PartialSums(
                arena, buckets: buckets, reduction: reduction, takesPlace: false,
                grids: [Grid(limitExponent: 10, parts: 4)])
            sums.begin(grids: nil)
            #expect(sums.accumulate((0..<100_000).map { Float($0 % 7 + ring.rank) }, part: 0) == .fits)
            for _ in 0..<2 {
                sums.forgetResults()
                let reach = Ring.Reach.ownerAndNext(grain: 4096)
                for bucket in buckets.indices { try ring.wait(for: sums.start(bucket, over: ring, for: reach)) }
                func parts(_ bucket: Int) -> [Range<Int>] {
                    let range = buckets[bucket]
                    return reach.parts(of: range.count, place: ring.place, worldSize: 3).map {
                        range.lowerBound + $0.lowerBound..<range.lowerBound + $0.upperBound
                    }
                }
                sums.finishAll(received: parts)
                let own = buckets.indices.flatMap(parts)
                #expect(own.count == 4 && own.joined().count > 60_000)
                #expect(own.joined().allSatisfy { sums.results[$0] == Float(3 * ($0 % 7) + 3) })
                #expect(sums.finishedBuckets == 0)
            }
        }
    }
}
