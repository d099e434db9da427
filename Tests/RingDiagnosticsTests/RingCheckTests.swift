import Collectives
import RingDiagnostics
import Testing
import TestSupport

@Suite struct RingCheckTests {
    /// One wrong bit at two ranks: all ranks are told how many there are, and of the lower rank where and what.
    @Test func aWrongElementIsFoundAndNamed() throws {
        try inWorld(of: 3) { ring in
            var tally = RingCheckTally(rank: ring.rank, worldSize: 3)
            for length in [4, 1000] {
                var values = (0..<length).map { Float($0) }
                if length == 1000, ring.rank > 0 { values[700 + ring.rank] = (values[700 + ring.rank]).nextUp }
                values.withUnsafeMutableBufferPointer { tally.compare($0, with: { Double($0) }) { Float($0) } }
            }
            let outcome = try tally.outcome("all-reduce", type: "float32", reduction: "sum", on: ring)
            #expect(outcome.operations == 2 && outcome.elements == 3 * 1004 && outcome.wrong == 2)
            let first = try #require(outcome.firstWrong)
            #expect(first.rank == 1 && first.length == 1000 && first.index == 701)
            #expect(first.got == Double(Float(701).nextUp) && first.expected == 701)
        }
    }

    @Test func whatIsRightIsNotWrong() throws {
        try inWorld(of: 2) { ring in
            var tally = RingCheckTally(rank: ring.rank, worldSize: 2)
            var values: [Int64] = [1, 2, 3]
            values.withUnsafeMutableBufferPointer { tally.compare($0, with: { Double($0) }) { Int64($0 + 1) } }
            let outcome = try tally.outcome("broadcast", type: "int64", reduction: "-", on: ring)
            #expect(outcome.wrong == 0 && outcome.elements == 6 && outcome.firstWrong == nil)
        }
    }

    /// Around the number of ranks, primes, and the largest, whatever it is.
    @Test(arguments: [1, 2, 7, 16])
    func lengthsAreOfAllKinds(worldSize: Int) {
        let lengths = RingCheck(largestBytes: 64 << 20).lengths(worldSize: worldSize, elementBytes: 4)
        for length in [0, 1, worldSize - 1, worldSize, worldSize + 1, 65_537, 16 << 20] { #expect(lengths.contains(length)) }
        #expect(RingCheck(largestBytes: 7).lengths(worldSize: 4, elementBytes: 2) == [0, 1, 2, 3])
    }
}
