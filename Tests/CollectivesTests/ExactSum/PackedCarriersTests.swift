import Collectives
import TestSupport
import Testing

/// Carriers in 48 or 32 bits on the wire: nothing is lost, or they are as they were.
@Suite struct PackedCarriersTests {
    private let reduction = Reduction(.carrier)

    /// Memory with room for `count` carriers as they are.
    private func withMemory(_ count: Int, _ body: (UnsafeMutableRawPointer) throws -> Void) rethrows {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: count * 8, alignment: 64)
        defer { memory.deallocate() }
        try body(memory)
    }

    /// Whole numbers below 2^bits in magnitude, times 2^exponent.
    private func numbers(_ count: Int, bits: Int, exponent: Int, _ generator: inout SeededGenerator) -> [Double] {
        (0..<count).map { _ in
            let whole = Int.random(in: -(1 << bits) + 1..<1 << bits, using: &generator) >> Int.random(in: 0...bits, using: &generator)
            return Double(sign: .plus, exponent: exponent, significand: Double(whole)) + 0
        }
    }

    /// Whether the payload's partial results are these, to the bit: only then does taking them away leave nothing.
    private func holds(_ payload: UnsafeMutableRawPointer, bytes: Int, _ expected: [Double]) -> Bool {
        var result = [Float](repeating: .nan, count: expected.count)
        let negated = expected.map { -$0 }
        negated.withUnsafeBytes { own in
            result.withUnsafeMutableBytes {
                reduction.finish(payload: payload, bytes: bytes, own.baseAddress!, into: $0.baseAddress!, count: expected.count)
            }
        }
        return result.allSatisfy { $0 == 0 }
    }

    private func shrink(_ values: [Double], into memory: UnsafeMutableRawPointer, packs: Bool = true) -> Int? {
        values.withUnsafeBytes { reduction.shrink($0.baseAddress!, into: memory, count: values.count, packs: packs) }
    }

    private func pack(_ values: [Double], into memory: UnsafeMutableRawPointer) -> Bool {
        shrink(values, into: memory).map { $0 == reduction.packedBytes(values.count) } ?? false
    }

    private func add(_ own: [Double], to memory: UnsafeMutableRawPointer, bytes: Int, packs: Bool = true) -> Int {
        own.withUnsafeBytes { reduction.add($0.baseAddress!, toPayload: memory, bytes: bytes, count: own.count, packs: packs) }
    }

    /// What one micro-batch's gradient leaves in the carriers: floats of all sizes, each on a grid.
    private func gridded(_ count: Int, _ generator: inout SeededGenerator) -> [Double] {
        let gradient = (0..<count).map { _ in
            Float.random(in: -1...1, using: &generator) * Float(sign: .plus, exponent: Int.random(in: -40...0, using: &generator), significand: 1)
        }
        let accumulator = ExactAccumulator(
            count: count, parts: [.init(offset: 0, count: count)], grids: [Grid(limitExponent: 6, parts: 8)])
        #expect(accumulator.accumulate(gradient, part: 0) == .fits)
        return Array(UnsafeBufferPointer(start: accumulator.carriers, count: count))
    }

    @Test func whatIsPackedComesBackBitForBit() throws {
        var generator = SeededGenerator(seed: 1)
        for count in [64, 65, 67, 255, 256, 257, 511, 1024, 4099, 1 << 17] {
            let bytes = try #require(reduction.packedBytes(count))
            #expect(bytes <= count * 6 + 8 + (count + 255) / 256 * 2)
            for exponent in [-1000, -149, -60, 0, 20, 900, 970] {
                let values = numbers(count, bits: 47, exponent: exponent, &generator)
                withMemory(count) { memory in
                    #expect(pack(values, into: memory), "\(count) at 2^\(exponent)")
                    #expect(holds(memory, bytes: bytes, values))
                }
            }
        }
    }

    @Test func sumsStayPackedWhereTheyFit() throws {
        var generator = SeededGenerator(seed: 2)
        for count in [64, 300, 1000, 2048] {
            let bytes = try #require(reduction.packedBytes(count))
            var sum = numbers(count, bits: 40, exponent: -80, &generator)
            withMemory(count) { memory in
                #expect(pack(sum, into: memory))
                for _ in 0..<20 {
                    let own = numbers(count, bits: 40, exponent: -80, &generator)
                    #expect(add(own, to: memory, bytes: bytes) == bytes)
                    sum = zip(sum, own).map { $0 + $1 }
                    #expect(holds(memory, bytes: bytes, sum))
                }
            }
        }
    }

    /// A sum that has become too wide in one block, whichever it is, leaves all as they are.
    @Test func sumsThatNoLongerFitAreWholeNumbersOfTheirOwn() throws {
        var generator = SeededGenerator(seed: 3)
        for count in [64, 256, 700, 2049] {
            let bytes = try #require(reduction.packedBytes(count))
            for place in stride(from: 0, to: count, by: max(1, count / 9)) {
                let values = numbers(count, bits: 44, exponent: -70, &generator)
                var own = numbers(count, bits: 44, exponent: -70, &generator)
                own[place] = 0x1p-70 * 0x1p51 + 0x1p-70
                withMemory(count) { memory in
                    #expect(pack(values, into: memory))
                    #expect(add(own, to: memory, bytes: bytes) == count * 8)
                    let sums = UnsafeBufferPointer(start: memory.assumingMemoryBound(to: Double.self), count: count)
                    #expect(sums.elementsEqual(zip(values, own).map { $0 + $1 }), "misfit at \(place) of \(count)")
                    #expect(add(own, to: memory, bytes: count * 8) == count * 8)
                }
            }
        }
    }

    @Test(arguments: [Double.nan, .infinity, -.infinity, -0.0, 0x1p48 + 1, 0x1p-3, 0x1p1020, .leastNonzeroMagnitude])
    func whatDoesNotFitIsNotPacked(value: Double) throws {
        for place in [0, 3, 255, 256, 298] {
            var values = (0..<299).map { Double($0 % 7 + 1) * 0x1p43 + 1 }
            withMemory(values.count) { memory in
                let fitsWithout = pack(values, into: memory)
                values[place] = value
                let fits = pack(values, into: memory)
                #expect(fitsWithout && !fits, "at \(place)")
            }
        }
    }

    @Test func oneMicroBatchIsNarrow() throws {
        var generator = SeededGenerator(seed: 4)
        for count in [64, 65, 255, 257, 4099, 1 << 17] {
            let values = gridded(count, &generator)
            for packs in [false, true] {
                withMemory(count) { memory in
                    #expect(shrink(values, into: memory, packs: packs) == count * 4)
                    #expect(holds(memory, bytes: count * 4, values))
                }
            }
        }
    }

    /// Whatever is added to narrow ones, the sum is the one of float64: packed where that is wanted and possible, and else as it is.
    @Test func sumsOfNarrowOnes() throws {
        var generator = SeededGenerator(seed: 5)
        for count in [64, 256, 700, 2049] {
            let packed = try #require(reduction.packedBytes(count))
            let values = gridded(count, &generator)
            for misfit in [nil, 0, count / 2, count - 1] {
                var own = gridded(count, &generator)
                // More than 48 bits above the quantum of its block.
                if let misfit { own[misfit] = 0x1p8 + 0x1p-43 }
                let sums = zip(values, own).map { $0 + $1 }
                for packs in [false, true] {
                    withMemory(count) { memory in
                        #expect(shrink(values, into: memory, packs: packs) == count * 4)
                        let bytes = add(own, to: memory, bytes: count * 4, packs: packs)
                        #expect(bytes == (packs && misfit == nil ? packed : count * 8), "\(count), misfit at \(misfit ?? -1)")
                        if bytes == count * 8 {
                            let wide = UnsafeBufferPointer(start: memory.assumingMemoryBound(to: Double.self), count: count)
                            #expect(wide.elementsEqual(sums))
                        }
                        #expect(holds(memory, bytes: bytes, sums))
                    }
                }
            }
        }
    }

    @Test(arguments: [Double(nan: 1, signaling: false), 1 + 0x1p-24, 0x1p128, 0x1p-150, -0x1.000001p0])
    func whatIsNoFloatIsNotNarrow(value: Double) throws {
        for place in [0, 3, 255, 256, 298] {
            var values = [Double](repeating: -0.0, count: 299)
            withMemory(values.count) { memory in
                #expect(shrink(values, into: memory, packs: false) == 299 * 4)
                values[place] = value
                #expect(shrink(values, into: memory, packs: false) == nil, "\(value) at \(place)")
            }
        }
    }

    @Test func onlyCarriersAreMadeSmaller() {
        for bytes in [Reduction.packedBytes, Reduction.narrowBytes] {
            #expect(bytes(Reduction(.float64))(1000) == nil && bytes(reduction)(63) == nil)
            #expect(bytes(reduction)(1 << 17 + 1) == nil)
        }
    }
}
