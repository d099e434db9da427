import Tensors
import Testing

/// The tape's products of bfloat16; the kernels' bits are `MatrixProductTests`'.
@Suite struct PrecisionTests {
    private func rounded(_ x: Float) -> Float { MatrixProductTests.rounded(x) }

    private func pattern(_ count: Int, _ key: Int) -> [Float] { (0..<count).map { Float(($0 * 37 + key * 11) % 101) / 50 - 1 } }

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

    /// Forward and backward, both factors of each product are rounded, and nothing else is: the sums differ in their order only.
    @Test func factorsAreRoundedAndNothingElse() {
        for (half, full) in zip(linear(.bfloat16), linear(.float32, rounding: true)) {
            for (x, y) in zip(half, full) { #expect(abs(x - y) <= 1e-6 * max(1, abs(y))) }
        }
        #expect(linear(.bfloat16) != linear(.float32))
        #expect(linear(.bfloat16)[0].contains { rounded($0) != $0 }, "sums keep all their bits")
    }

    @Test func emptyProducts() {
        let tape = Tape(precision: .bfloat16)
        tape.begin(Pass(isTraining: true))
        let product = tape.variable([], [2, 0]).matrixProduct(tape.variable([], [0, 3]))
        #expect(product.array == [0, 0, 0, 0, 0, 0])
    }

    @Test func names() {
        #expect(Precision(name: "bf16") == .bfloat16)
        #expect(Precision(name: "fp32") == .float32)
        #expect(Precision(name: "fp64") == nil)
    }
}
