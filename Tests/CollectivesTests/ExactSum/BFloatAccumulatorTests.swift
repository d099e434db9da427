import Collectives
import TestSupport
import Testing

@Suite struct BFloatAccumulatorTests {
    /// Two parts with padding between them; a part without a gradient is zero, and what a step before left is forgotten.
    @Test func sumsAreRoundedOnceAndWidened() {
        let sums = BFloatAccumulator(count: 8, parts: [.init(offset: 0, count: 3), .init(offset: 4, count: 2)])
        #expect(sums.partial.accumulate([9, 9, 9], part: 0) && sums.partial.accumulate([9, 9], part: 1))
        sums.partial.begin()
        #expect(sums.partial.accumulate([1, -2, 0x1p-8], part: 0))
        #expect(sums.partial.accumulate([0x1p-8, 0.5, 1], part: 0))
        sums.partial.settle(part: 1)
        // 1 + 2^-8 lies between two bfloat16: the tie goes to the even one, which is 1. The float32 sum is rounded, not its summands.
        let rounded = sums.round(0..<8)
        #expect(rounded.map { Float($0) } == [1, -1.5, 1, 0, 0, 0, 0, 0])
        var wide = [Float](repeating: .nan, count: 3)
        sums.widen(1..<4, into: &wide)
        #expect(wide == [-1.5, 1, 0])
        #expect(!sums.partial.accumulate([1, .nan], part: 1) && !sums.partial.accumulate([.infinity, 1, 1], part: 0))
    }

    @Test(arguments: [2, 3]) func workersSumsTravelAsBfloat16(worldSize: Int) throws {
        try inWorld(of: worldSize) { ring in
            let count = 100_000
            let sums = BFloatAccumulator(count: count, parts: [.init(offset: 0, count: count)])
            let gradient = (0..<count).map { Float(($0 + ring.rank) % 64) }
            #expect(sums.partial.accumulate(gradient, part: 0))
            let first = try ring.startAllReduce(sums.round(0..<(count / 2)))
            let second = try ring.startAllReduce(sums.round((count / 2)..<count))
            var result = [Float](repeating: 0, count: count)
            try ring.wait(for: first)
            try ring.wait(for: second)
            sums.widen(0..<count, into: &result)
            // Whole numbers up to 189 have 8 bits.
            for index in 0..<count {
                let expected = (0..<worldSize).reduce(0) { $0 + (index + $1) % 64 }
                guard result[index] == Float(expected) else {
                    Issue.record("\(index): \(result[index]), not \(expected)")
                    return
                }
            }
        }
    }
}
