import Collectives
import TestSupport
import Testing

/// Sums that take the place of partial sums: never of one that somebody may still need.
@Suite struct SumLayoutTests {
    /// The sums of two ranges of the largest size fit before the partial sums, whatever follows.
    @Test(arguments: [4, 8]) func theLeadIsTwoRanges(stride: Int) {
        for count in [2, 3, 10, 100] {
            let layout = SumLayout(ranges: (0..<count).map { $0 * 20_000..<($0 + 1) * 20_000 }, stride: stride)
            #expect(layout.leadBytes == 2 * 20_000 * 4)
            #expect(layout.besideCount == 0 && layout.beside.allSatisfy { $0 == nil })
        }
        #expect(SumLayout(ranges: [0..<20_000], stride: stride).leadBytes == 20_000 * 4)
        #expect(SumLayout(ranges: [], stride: stride).leadBytes == 0)
    }

    /// An exchange may be over before the ring has begun with what comes before it, or not begun when all after it is
    /// over.
    @Test func shortRangesLandBeside() {
        let layout = SumLayout(ranges: [0..<100, 112..<30_112, 30_112..<60_112, 60_112..<60_120], stride: 8)
        #expect(layout.beside == [0, nil, nil, 100])
        #expect(layout.besideCount == 108)
        // The last sums of the long ones must not come where the first short one's partial sums are.
        #expect(layout.leadBytes >= 60_112 * 4 && layout.leadBytes % 64 == 0)
        // In a ring of two an exchange has 64 KiB at most.
        #expect(SumLayout(ranges: [0..<8192], stride: 8).beside == [0])
        #expect(SumLayout(ranges: [0..<8193], stride: 8).beside == [nil])
        #expect(SumLayout(ranges: [0..<8193], stride: 4).beside == [0])
    }

    /// Sums that come in their place, as from a rank that has them, leave a range's partial sums alone until all are
    /// there: the one that they come from may die on the way.
    @Test(arguments: [
        [0..<48], [0..<8_192, 8_192..<8_256], [0..<20_000, 20_000..<20_048], [0..<48, 48..<70_000, 70_000..<150_000],
    ])
    func sumsThatComeLeavePartialSumsAlone(ranges: [Range<Int>]) throws {
        let count = try #require(ranges.last).upperBound
        let exact = ExactAccumulator(
            count: count, parts: [.init(offset: 0, count: count)], grids: [Grid(limitExponent: 3, parts: 4)],
            layout: SumLayout(ranges: ranges, stride: 8))
        let float = FloatAccumulator(
            count: count, parts: [.init(offset: 0, count: count)], layout: SumLayout(ranges: ranges, stride: 4))
        let gradient = [Float](repeating: 1, count: count)
        #expect(exact.accumulate(gradient, part: 0) == .fits && float.accumulate(gradient, part: 0))
        for (number, range) in ranges.enumerated() {
            for index in range { (exact.results[index], float.results[index]) = (7, 7) }
            let rest = range.lowerBound..<count
            #expect(rest.allSatisfy { exact.carriers[$0] == 1 && float.sums[$0] == 1 }, "range \(number)")
            exact.take(range: number)
            float.take(range: number)
        }
        #expect((0..<count).allSatisfy { exact.results[$0] == 7 && float.results[$0] == 7 })
    }

    /// Ranges of one slice and of several, and gaps between them.
    private static let ranges = [
        0..<9_000, 9_000..<60_000, 60_016..<70_016, 70_016..<80_000, 80_000..<150_000, 150_000..<150_050,
    ]
    private static let count = 150_064

    private static func value(rank: Int, index: Int) -> Float { Float((rank + 1) * (index % 89 + 1)) }

    private static func accumulators(worldSize: Int) -> [ExactAccumulator] {
        (0..<worldSize).map { rank in
            let grid = Grid(limitExponent: 12, parts: worldSize)
            let accumulator = ExactAccumulator(
                count: count, parts: [.init(offset: 0, count: count)], grids: [grid],
                layout: SumLayout(ranges: ranges, stride: 8))
            let values = (0..<count).map { value(rank: rank, index: $0) }
            #expect(accumulator.accumulate(values, part: 0) == .fits)
            return accumulator
        }
    }

    /// Wherever the ring breaks, what a rank has is the sums of the ranges that have ended, and all its carriers beyond
    /// them; in every order in which bytes may come.
    @Test(arguments: [2, 3, 4], 0..<6) func whereverTheRingBreaks(worldSize: Int, seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed * 8 + UInt64(worldSize))
        let accumulators = Self.accumulators(worldSize: worldSize)
        let ring = SimulatedRing(worldSize: worldSize, seed: seed)
        // The first one is not broken.
        let events = seed == 0 ? Int.max : Int.random(in: 1...(40 * worldSize), using: &generator)
        var submitted = [Int](repeating: 0, count: worldSize)
        try ring.run(events: events) { rank in
            let (number, accumulator) = (submitted[rank], accumulators[rank])
            let range = Self.ranges[number]
            try ring.workers[rank].submit(
                .init(
                    reduction: Reduction(.carrier), source: accumulator.carriers + range.lowerBound,
                    result: accumulator.landing(ofRange: number), count: range.count))
            submitted[rank] += 1
            return submitted[rank] < Self.ranges.count
        }
        for (rank, accumulator) in accumulators.enumerated() {
            let ended = Int(ring.workers[rank].completed)
            if seed == 0 { #expect(ended == Self.ranges.count) }
            for number in 0..<ended { accumulator.finish(range: number) }
            #expect(accumulator.finished == (ended == 0 ? 0 : Self.ranges[ended - 1].upperBound))
            let wrongSum = Self.ranges[..<ended].joined().first { index in
                accumulator.results[index] != (0..<worldSize).reduce(0) { $0 + Self.value(rank: $1, index: index) }
            }
            let wrongCarrier = (accumulator.finished..<Self.count).first {
                accumulator.carriers[$0] != Double(Self.value(rank: rank, index: $0))
            }
            let place = "rank \(rank) of \(worldSize), seed \(seed), \(ended) ended"
            #expect(wrongSum == nil && wrongCarrier == nil, "\(place)")
        }
    }

    /// Gradients that come after some sums are finished are judged everywhere, and added where there are carriers
    /// still; the gap behind a part is zero again in the next step.
    @Test func whatIsFinishedIsOnlyJudged() {
        let grid = Grid(limitExponent: 3, parts: 4)
        let accumulator = ExactAccumulator(
            count: 20_032, parts: [.init(offset: 0, count: 20_005), .init(offset: 20_016, count: 16)],
            grids: [grid, grid], layout: SumLayout(ranges: [0..<10_000, 10_000..<20_032], stride: 8))
        var gradient = [Float](repeating: 1, count: 20_005)
        for _ in 0..<3 {
            accumulator.begin(grids: [grid, grid])
            #expect(accumulator.finished == 0)
            #expect(accumulator.accumulate(gradient, part: 0) == .fits)
            accumulator.settle(part: 1)
            #expect((20_005..<20_032).allSatisfy { accumulator.carriers[$0] == 0 })
            for index in 0..<10_000 { accumulator.landing(ofRange: 0)[index] = 7 }
            accumulator.finish(range: 0)
            #expect(accumulator.finished == 10_000)
            #expect(accumulator.accumulate(gradient, part: 0) == .fits)
            #expect((0..<10_000).allSatisfy { accumulator.results[$0] == 7 })
            #expect((10_000..<20_005).allSatisfy { accumulator.carriers[$0] == 2 })
            gradient[5] = 9
            #expect(accumulator.accumulate(gradient, part: 0) == .misfit)
            gradient[5] = .nan
            #expect(accumulator.accumulate(gradient, part: 0) == .notFinite)
            gradient[5] = 1
            for index in 10_000..<20_032 { accumulator.landing(ofRange: 1)[index - 10_000] = 9 }
            accumulator.finish(range: 1)
            #expect((0..<20_032).allSatisfy { accumulator.results[$0] == ($0 < 10_000 ? 7 : 9) })
        }
    }
}
