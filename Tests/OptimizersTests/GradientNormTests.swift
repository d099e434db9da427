import Optimizers
import Testing

@Suite struct GradientNormTests {
    private func sums(_ x: [Float]) -> [Double] { x.withUnsafeBufferPointer(GradientNorm.blockSums) }
    private func largest(_ x: [Float]) -> Float { x.withUnsafeBufferPointer(GradientNorm.largestMagnitude) }

    /// Small whole numbers: every order of addition is exact.
    @Test(arguments: [0, 1, 15, 16, 17, 4095, 4096, 4097, 8192, 10_000]) func blockSums(_ count: Int) {
        let x = (0..<count).map { Float($0 % 7 - 3) }
        let expected = stride(from: 0, to: count, by: 4096).map { first in
            x[first..<min(first + 4096, count)].reduce(0.0) { $0 + Double($1 * $1) }
        }
        #expect(sums(x) == expected)
    }

    /// Shards that start at block boundaries have the blocks' sums of the whole, to the bit.
    @Test func shardsGiveTheSameBits() {
        let x = (0..<20_000).map { Float(($0 * 7919) % 10_007) / 3000 - 1.5 }
        #expect(sums(x) == sums(Array(x[..<8192])) + sums(Array(x[8192..<12_288])) + sums(Array(x[12_288...])))
    }

    /// One pass gives what two would, wherever parts end: within blocks, at their ends, beyond several, one after the other.
    @Test(arguments: [[5], [16, 16, 40], [4096, 4112, 20_000], [16, 8192, 8193], [4096, 4096], [12_288, 30_001], [0, 16, 16]])
    func aSurveyIsBothInOnePass(ends: [Int]) {
        let x = (0..<ends[ends.count - 1]).map { Float(($0 * 7919) % 10_007) / 3000 - 1.5 }
        let survey = x.withUnsafeBufferPointer { GradientNorm.survey($0, partEnds: ends) }
        #expect(survey.largest == zip([0] + ends, ends).map { largest(Array(x[$0..<$1])) })
        #expect(survey.blockSums == sums(x))
        let spoilt = zip([0] + ends, ends).enumerated().filter { $1.0 < $1.1 }.map { part, places in
            var y = x
            y[places.1 - 1] = .nan
            let seen = y.withUnsafeBufferPointer { GradientNorm.survey($0, partEnds: ends) }.largest
            return seen.indices.allSatisfy { seen[$0].isNaN == ($0 == part) }
        }
        #expect(spoilt.allSatisfy { $0 })
    }

    @Test func normAndClipping() {
        #expect(GradientNorm.norm(blockSums: [9, 16]) == 5)
        #expect(GradientNorm.norm(blockSums: [9, 16], scale: 0.5) == 2.5)
        #expect(GradientNorm.clipFactor(norm: 0.5, limit: 1) == 1)
        #expect(GradientNorm.clipFactor(norm: 4, limit: 1) == 1 / (4 + 1e-6))
        #expect(GradientNorm.clipFactor(norm: 0, limit: 1) == 1)
    }

    @Test(arguments: [1, 15, 16, 17, 33]) func nothingHidesInLargestMagnitude(_ count: Int) {
        #expect(largest([]) == 0)
        for place in 0..<count {
            var x = [Float](repeating: -1, count: count)
            x[place] = -2.5
            #expect(largest(x) == 2.5)
            x[place] = -.infinity
            #expect(largest(x) == .infinity)
            x[place] = .nan
            #expect(largest(x).isNaN)
            x[(place + 1) % count] = .infinity
            #expect(largest(x).isNaN || count == 1)
        }
    }
}
