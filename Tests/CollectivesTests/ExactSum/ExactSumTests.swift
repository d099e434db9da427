import BigInt
import Collectives
import TestSupport
import Testing

/// Floats as whole multiples of 2^-149, float32's last place: the sum of any of them is a whole number, and exact.
private enum Reference {
    static func multiple(_ value: Double) -> BigInt {
        precondition(value.isFinite)
        if value == 0 { return 0 }
        // A float64 is significand * 2^(exponent - 52); all values here are multiples of 2^-149.
        let significand = BigInt(Int64(value.significandBitPattern | (1 << 52)))
        let shift = Int(value.exponent) - 52 + 149
        let magnitude = shift >= 0 ? significand << shift : significand >> (-shift)
        if shift < 0 { precondition(magnitude << (-shift) == significand, "\(value) is no multiple of 2^-149") }
        return value < 0 ? -magnitude : magnitude
    }

    static func sum(_ values: some Sequence<Float>) -> BigInt {
        values.reduce(BigInt(0)) { $0 + multiple(Double($1)) }
    }
}

@Suite struct ExactSumTests {
    /// What the values look like; each is hard in its own way.
    enum Family: CaseIterable {
        case normal, mixedMagnitudes, denormals, cancelling, signedZeros, powersOfTwo

        func value(_ generator: inout SeededGenerator) -> Float {
            let sign: Float = Bool.random(using: &generator) ? 1 : -1
            switch self {
            case .normal:
                return Float.random(in: -1...1, using: &generator)
            case .mixedMagnitudes:
                return sign * Float(sign: .plus, exponent: Int.random(in: -60...20, using: &generator), significand: Float.random(in: 1..<2, using: &generator))
            case .denormals:
                return sign * Float(bitPattern: UInt32.random(in: 0..<(1 << 23), using: &generator))
            case .cancelling:
                return sign * (1e6 + Float.random(in: 0..<1e-1, using: &generator))
            case .signedZeros:
                return sign * 0
            case .powersOfTwo:
                return sign * Float(sign: .plus, exponent: Int.random(in: -20...0, using: &generator), significand: 1)
            }
        }
    }

    private static let elements = 37

    /// Partial gradients of `parts` micro-batches, and the grid that the largest of them gives.
    private func gradients(_ family: Family, parts: Int, _ generator: inout SeededGenerator) -> (values: [[Float]], grid: Grid) {
        let values = (0..<parts).map { _ in (0..<Self.elements).map { _ in family.value(&generator) } }
        let largest = values.joined().map(\.magnitude).max()!
        return (values, Grid.first(largestMagnitudeBits: largest.bitPattern, parts: parts))
    }

    /// Sums groups of micro-batches in accumulators of their own, as workers do, then the carriers in the order given.
    private func sum(_ groups: [[[Float]]], grid: Grid) -> [Double] {
        var total = [Double](repeating: 0, count: Self.elements)
        for group in groups {
            let accumulator = ExactAccumulator(
                count: Self.elements, parts: [.init(offset: 0, count: Self.elements)], grids: [grid])
            accumulator.begin(grids: [grid])
            for gradient in group {
                #expect(gradient.withUnsafeBufferPointer { accumulator.accumulate($0.baseAddress!, part: 0) } == .fits)
            }
            accumulator.settle(part: 0)
            for index in total.indices { total[index] += accumulator.carriers[index] }
        }
        return total
    }

    @Test(arguments: Family.allCases, [1, 2, 3, 7, 8, 16, 33, 64])
    func anyOrderAndGroupingGivesTheSameBitsWithinTheBound(family: Family, parts: Int) {
        var generator = SeededGenerator(seed: UInt64(parts))
        for _ in 0..<20 {
            let (values, grid) = gradients(family, parts: parts, &generator)
            let whole = sum([values], grid: grid)
            for _ in 0..<6 {
                let shuffled = values.shuffled(using: &generator)
                let cuts = (0..<Int.random(in: 0...4, using: &generator)).map { _ in Int.random(in: 0...parts, using: &generator) }.sorted()
                let bounds = [0] + cuts + [parts]
                let groups = zip(bounds, bounds.dropFirst()).map { Array(shuffled[$0..<$1]) }
                #expect(sum(groups, grid: grid).map(\.bitPattern) == whole.map(\.bitPattern))
            }
            for index in 0..<Self.elements {
                let error = (Reference.multiple(whole[index]) - Reference.sum(values.map { $0[index] })).magnitude
                #expect(error <= Reference.multiple(grid.errorBound).magnitude, "\(family), \(parts) parts")
            }
        }
    }

    /// On a grid as fine as float32 itself nothing is rounded before the end: the sum is the true one.
    @Test func onTheFinestGridTheSumIsTheTrueOne() {
        var generator = SeededGenerator(seed: 3)
        let grid = Grid(limitExponent: -126, parts: 64)
        #expect(grid.errorBound == 0)
        let values = (0..<64).map { _ in (0..<Self.elements).map { _ in Family.denormals.value(&generator) } }
        let result = sum([values], grid: grid)
        for index in 0..<Self.elements {
            #expect(Reference.multiple(result[index]) == Reference.sum(values.map { $0[index] }))
        }
    }

    /// The largest magnitudes that fit, all of one sign: the sum must still be exact.
    @Test(arguments: [1, 2, 3, 64, 1000])
    func theFullestSumIsExact(parts: Int) {
        for exponent in [-149, -100, 0, 100, 127] {
            let grid = Grid(limitExponent: exponent, parts: parts)
            let largest = Float(sign: .plus, exponent: exponent, significand: 1)
            let result = sum([[[Float]](repeating: [Float](repeating: largest, count: Self.elements), count: parts)], grid: grid)
            #expect(result.allSatisfy { $0 == Double(largest) * Double(parts) })
        }
    }

    @Test func everyFiniteValueFitsTheCoarsestGrid() {
        let grid = Grid(limitExponent: 128, parts: 2)
        let result = sum([[[Float]](repeating: [Float](repeating: -.greatestFiniteMagnitude, count: Self.elements), count: 2)], grid: grid)
        #expect(result.allSatisfy { abs($0 + 2 * Double(Float.greatestFiniteMagnitude)) <= grid.errorBound })
    }

    private func verdict(_ value: Float, _ grid: Grid) -> ExactAccumulator.Verdict {
        // The odd one stands anywhere in the part, the end included, where a vector loop has its remainder.
        for position in [0, 1, 16, 35, 36] {
            let accumulator = ExactAccumulator(
                count: Self.elements, parts: [.init(offset: 0, count: Self.elements)], grids: [grid])
            accumulator.begin(grids: [grid])
            var gradient = [Float](repeating: 0.5, count: Self.elements)
            _ = gradient.withUnsafeBufferPointer { accumulator.accumulate($0.baseAddress!, part: 0) }
            gradient[position] = value
            let verdict = gradient.withUnsafeBufferPointer { accumulator.accumulate($0.baseAddress!, part: 0) }
            if verdict != .fits || position == 36 { return verdict }
        }
        return .fits
    }

    @Test func whatDoesNotFitIsSaidAndNeverSaturates() {
        let grid = Grid(limitExponent: 3, parts: 8)
        #expect(verdict(8, grid) == .fits)
        #expect(verdict(-8, grid) == .fits)
        #expect(verdict(Float(8).nextUp, grid) == .misfit)
        #expect(verdict(-Float(8).nextUp, grid) == .misfit)
        #expect(verdict(.greatestFiniteMagnitude, grid) == .misfit)
        for value in [Float.infinity, -.infinity, .nan, .signalingNaN] { #expect(verdict(value, grid) == .notFinite) }
    }

    /// NaN and infinity go through the sum to its end.
    @Test func notANumberIsCarriedToTheEnd() {
        let grid = Grid(limitExponent: 0, parts: 2)
        let accumulator = ExactAccumulator(count: 3, parts: [.init(offset: 0, count: 3)], grids: [grid])
        accumulator.begin(grids: [grid])
        _ = [Float.nan, .infinity, 1].withUnsafeBufferPointer { accumulator.accumulate($0.baseAddress!, part: 0) }
        _ = [Float(1), 1, 1].withUnsafeBufferPointer { accumulator.accumulate($0.baseAddress!, part: 0) }
        #expect(accumulator.carriers[0].isNaN && accumulator.carriers[1] == .infinity && accumulator.carriers[2] == 2)
    }

    @Test func gridsFollowTheReducedMaximum() {
        let grid = Grid(limitExponent: 10, parts: 4)
        func next(_ magnitude: Float) -> Int { grid.next(largestMagnitudeBits: magnitude.bitPattern).limitExponent }
        // 2^4 wants 4 + 6 bits of headroom; anything more raises at once.
        #expect(next(16) == 10)
        #expect(next(Float(16).nextUp) == 11)
        #expect(next(1000) == 16)
        // What is smaller lowers by one a step.
        #expect(next(0.001) == 9)
        // Zero and what is not finite say nothing.
        #expect(next(0) == 10)
        #expect(next(.infinity) == 10)
        #expect(next(.nan) == 10)
        #expect(grid.raised().limitExponent == 26)
        #expect(Grid(limitExponent: 120, parts: 4).raised().limitExponent == 128)
    }

    @Test func partsThatGotNothingAreZeroAfterAnEarlierStep() {
        let grid = Grid(limitExponent: 0, parts: 2)
        let accumulator = ExactAccumulator(
            count: 48, parts: [.init(offset: 0, count: 5), .init(offset: 16, count: 32)], grids: [grid, grid])
        accumulator.begin(grids: [grid, grid])
        let ones = [Float](repeating: 1, count: 32)
        _ = ones.withUnsafeBufferPointer { accumulator.accumulate($0.baseAddress!, part: 0) }
        _ = ones.withUnsafeBufferPointer { accumulator.accumulate($0.baseAddress!, part: 1) }
        #expect(accumulator.carriers[5] == 0 && accumulator.carriers[16] == 1)
        accumulator.begin(grids: [grid, grid])
        _ = ones.withUnsafeBufferPointer { accumulator.accumulate($0.baseAddress!, part: 0) }
        accumulator.settle(part: 1)
        #expect(accumulator.carriers[0] == 1 && accumulator.carriers[16] == 0 && accumulator.carriers[47] == 0)
    }
}
