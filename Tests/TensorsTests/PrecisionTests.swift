import CTensorKernels
import Tensors
import Testing

/// Products of bfloat16. Hardware that has it is compared with the emulation; elsewhere the emulation stands in.
@Suite struct PrecisionTests {
    /// Rounding by arithmetic: to a multiple of the last of eight bits.
    private func rounded(_ x: Float) -> Float {
        guard x.isFinite, x != 0 else { return x }
        let unit = Float(sign: .plus, exponent: max(Int(x.exponent), -126) - 7, significand: 1)
        // The quotient is exact, but for the largest numbers, which round to infinity.
        return (Double(x) / Double(unit)).rounded(.toNearestOrEven) * Double(unit) > 3.39e38
            ? .infinity : Float((Double(x) / Double(unit)).rounded(.toNearestOrEven) * Double(unit))
    }

    private let samples: [Float] =
        [
            0, -0.0, 1, -1, 1.00390625, 1.01171875, 1.003906369, -1.00390625, 3.1415927, 65504, 0x1p-133, 0x1p-126, 0x1.ffp-127, 3.3e38,
            .leastNonzeroMagnitude, .infinity, -.infinity,
        ] + (0..<200).map { Float($0 * 7919 % 1009) / 31 - 13.7 }

    @Test func roundingIsToNearestAndTiesToEven() {
        var halves = [UInt16](repeating: 0, count: samples.count)
        var through = [Float](repeating: 0, count: samples.count)
        tensor_round_bfloat16(&halves, samples, samples.count)
        tensor_round_through_bfloat16(&through, samples, samples.count)
        for (x, (half, y)) in zip(samples, zip(halves, through)) {
            #expect(y.bitPattern == rounded(x).bitPattern, "\(x)")
            #expect(Float(bitPattern: UInt32(half) << 16).bitPattern == y.bitPattern, "\(x)")
        }
    }

    @Test func nanStaysNaN() {
        for bits in [0x7fc0_0000, 0x7f80_0001, 0xff80_0001, 0x7fff_ffff] as [UInt32] {
            var y: Float = 0
            tensor_round_through_bfloat16(&y, [Float(bitPattern: bits)], 1)
            #expect(y.isNaN)
        }
    }

    private func pattern(_ count: Int, _ key: Int) -> [Float] { (0..<count).map { Float(($0 * 37 + key * 11) % 101) / 50 - 1 } }

    /// The primitive in float32, which every CPU has: shapes, transposition and accumulation are the same for both types.
    @Test(arguments: [(1, 1, 1), (3, 5, 7), (17, 33, 64), (64, 65, 1)])
    func theProductOfAnyShape(m: Int, n: Int, k: Int) {
        for (transposeA, transposeB, accumulate) in [
            (false, false, false), (true, false, true), (false, true, true), (true, true, false),
        ] {
            let (a, b, before) = (pattern(m * k, 1), pattern(k * n, 2), pattern(m * n, 3))
            let plan = MatrixProductPlan(
                MatrixProductPlan.Shape(
                    m: m, n: n, k: k, transposeA: transposeA, transposeB: transposeB, accumulate: accumulate, isBFloat16: false))
            var c = before
            var scratch = [Float](repeating: 0, count: plan.scratchCount + 1)
            c.withUnsafeMutableBufferPointer { c in
                scratch.withUnsafeMutableBufferPointer { plan.run(a, b, into: c.baseAddress!, scratch: $0.baseAddress!) }
            }
            for i in 0..<m {
                for j in 0..<n {
                    let sum = (0..<k).reduce(0.0) { sum, l in
                        sum + Double(a[transposeA ? l * m + i : i * k + l]) * Double(b[transposeB ? j * k + l : l * n + j])
                    }
                    let expected = sum + (accumulate ? Double(before[i * n + j]) : 0)
                    #expect(abs(Double(c[i * n + j]) - expected) < 1e-4, "\(transposeA) \(transposeB) \(accumulate) at \(i), \(j)")
                }
            }
        }
    }

    /// Result and gradients of y = W-layer(x), then the sum of y * slopes.
    private func linear(_ precision: Precision, rounding: Bool = false) -> [[Float]] {
        let weight = Parameter([5, 12], .uniform(bound: 1))
        let arena = ParameterArena([("weight", weight)], seed: 4)
        let slopes = pattern(35, 9)
        func prepared(_ values: [Float]) -> [Float] { rounding ? values.map(rounded) : values }
        if rounding { for index in 0..<weight.count { weight.values[index] = rounded(weight.values[index]) } }
        let tape = Tape(parameters: arena, precision: precision)
        tape.begin(Pass(isTraining: true))
        let x = tape.variable(prepared(pattern(84, 5)), [7, 12])
        let y = x.linear(weight)
        tape.backward(from: (y * tape.input(prepared(slopes), [7, 5])).sum())
        return [y.array, tape.gradient(of: x), Array(arena.gradients)]
    }

    /// Forward and backward, both factors of each product are rounded, and nothing else is.
    @Test func factorsAreRoundedAndNothingElse() {
        #expect(linear(.emulatedBFloat16) == linear(.float32, rounding: true))
        #expect(linear(.emulatedBFloat16) != linear(.float32))
        #expect(linear(.emulatedBFloat16)[0].contains { rounded($0) != $0 }, "sums keep all their bits")
    }

    @Test(.enabled(if: Precision.bfloat16.isSupported)) func hardwareComputesTheSame() {
        for (a, b) in zip(linear(.bfloat16), linear(.emulatedBFloat16)) {
            for (x, y) in zip(a, b) { #expect(abs(x - y) <= 1e-5 * max(1, abs(y))) }
        }
    }

    @Test func emptyProducts() {
        let tape = Tape(precision: .emulatedBFloat16)
        tape.begin(Pass(isTraining: true))
        let product = tape.variable([], [2, 0]).matrixProduct(tape.variable([], [0, 3]))
        #expect(product.array == [0, 0, 0, 0, 0, 0])
    }

    @Test func names() {
        #expect(Precision(name: "bf16") == .bfloat16)
        #expect(Precision(name: "fp32") == .float32)
        #expect(Precision(name: "fp64") == nil)
        #expect(Precision.float32.isSupported)
    }
}
