import Tensors
import Testing

/// Every operation's gradient against finite differences.
@Suite struct GradientTests {
    static let activations: [Activation] = [.none, .relu, .geluExact, .geluTanh]

    @Test(arguments: [(1, 1, 1), (3, 5, 2), (2, 17, 19), (65, 3, 4)], activations)
    func linear(_ sizes: (rows: Int, inputs: Int, outputs: Int), _ activation: Activation) {
        let weight = Parameter([sizes.outputs, sizes.inputs], .uniform(bound: 0.8))
        let bias = Parameter([sizes.outputs], .uniform(bound: 0.5))
        var differences = FiniteDifferences(
            inputs: [(pattern(sizes.rows * sizes.inputs), [sizes.rows, sizes.inputs])], parameters: [weight, bias])
        // Differences across relu's kink are wrong: a short step makes them rare, and these inputs have none.
        differences.step = activation == .relu ? 1e-3 : 1e-2
        differences.tolerance = activation == .relu ? 1e-2 : 3e-3
        differences.check { _, x in x[0].linear(weight, bias: bias, activation: activation) }
        if activation == .none {
            let alone = Parameter([sizes.outputs, sizes.inputs], .uniform(bound: 0.8))
            var withoutBias = differences
            withoutBias.parameters = [alone]
            withoutBias.check { _, x in x[0].linear(alone) }
        }
    }

    @Test(arguments: [(1, 1, 1), (3, 4, 5), (17, 2, 3)], [(false, false), (false, true), (true, false), (true, true)])
    func matrixProduct(_ sizes: (m: Int, k: Int, n: Int), _ transpose: (a: Bool, b: Bool)) {
        let a = (pattern(sizes.m * sizes.k), transpose.a ? [sizes.k, sizes.m] : [sizes.m, sizes.k])
        let b = (pattern(sizes.k * sizes.n, seed: 1), transpose.b ? [sizes.n, sizes.k] : [sizes.k, sizes.n])
        FiniteDifferences(inputs: [a, b]).check { _, x in
            x[0].matrixProduct(x[1], transposeSelf: transpose.a, transposeOther: transpose.b)
        }
    }

    /// Shapes whose factors are copied to other strides, and rows that do not fill the last copy: against plain sums.
    @Test(arguments: [(127, 128, 128), (129, 128, 3), (300, 5, 256), (0, 128, 128)])
    func weightGradientsOfRoundSizes(_ sizes: (rows: Int, inputs: Int, outputs: Int)) {
        let weight = Parameter([sizes.outputs, sizes.inputs], .zeros)
        let tape = Tape(parameters: ParameterArena([("w", weight)], seed: 1))
        tape.begin(Pass(isTraining: true))
        let x = pattern(sizes.rows * sizes.inputs), dy = pattern(sizes.rows * sizes.outputs, seed: 2)
        let input = tape.input(x, [sizes.rows, sizes.inputs])
        // Used twice, so that the second product adds.
        let y = input.linear(weight) + input.linear(weight)
        dy.withUnsafeBufferPointer { tape.backward(from: y, gradient: $0) }
        for (o, i) in [(0, 0), (sizes.outputs - 1, sizes.inputs - 1), (sizes.outputs / 2, sizes.inputs / 3)] {
            let expected = (0..<sizes.rows).reduce(0.0) {
                $0 + 2 * Double(dy[$1 * sizes.outputs + o]) * Double(x[$1 * sizes.inputs + i])
            }
            #expect(abs(Double(weight.gradients[o * sizes.inputs + i]) - expected) < 1e-3)
        }
    }

    @Test(arguments: [(1, 2), (3, 5), (2, 16), (4, 33)], [false, true])
    func layerNormalization(_ sizes: (rows: Int, columns: Int), _ hasBias: Bool) {
        let gain = Parameter([sizes.columns], .uniform(bound: 1))
        let bias = hasBias ? Parameter([sizes.columns], .uniform(bound: 1)) : nil
        FiniteDifferences(
            inputs: [(pattern(sizes.rows * sizes.columns), [sizes.rows, sizes.columns])],
            parameters: [gain] + (bias.map { [$0] } ?? []), step: 2e-3, tolerance: 1e-2
        ).check { _, x in x[0].layerNormalized(gain: gain, bias: bias, epsilon: 1e-2) }
    }

    /// One position, several, exactly a block of rows, and one more; the dropped elements stay the same from call to call.
    @Test(arguments: [(1, 1, 1, 1), (2, 3, 2, 4), (1, 17, 1, 3)], [Float(0), 0.4])
    func causalAttention(_ sizes: (samples: Int, positions: Int, heads: Int, columns: Int), _ dropout: Float) {
        let shape = [sizes.samples, sizes.positions, 3 * sizes.heads * sizes.columns]
        FiniteDifferences(inputs: [(pattern(shape.reduce(1, *)), shape)]).check { _, x in
            x[0].causalAttention(heads: sizes.heads, dropout: dropout)
        }
    }

    @Test(arguments: [(1, 64, 1, 2), (1, 65, 2, 1), (1, 130, 1, 2)])
    func causalAttentionOverSeveralBlocks(_ sizes: (samples: Int, positions: Int, heads: Int, columns: Int)) {
        let shape = [sizes.samples, sizes.positions, 3 * sizes.heads * sizes.columns]
        FiniteDifferences(inputs: [(pattern(shape.reduce(1, *)), shape)]).check { _, x in
            x[0].causalAttention(heads: sizes.heads)
        }
    }

    @Test(arguments: [(1, 1), (1, 2), (3, 15), (2, 16), (4, 17)])
    func crossEntropy(_ sizes: (rows: Int, classes: Int)) {
        let labels = (0..<sizes.rows).map { Int32($0 == 2 ? -1 : $0 * 7 % sizes.classes) }
        FiniteDifferences(inputs: [(pattern(sizes.rows * sizes.classes, scale: 2), [sizes.rows, sizes.classes])]).check {
            tape, x in softmaxCrossEntropy(x[0], tape.indices(labels, [sizes.rows])).sum
        }
    }

    @Test(arguments: [[1], [3, 5], [17, 1]])
    func meanSquaredErrorOf(_ shape: [Int]) {
        let count = shape.reduce(1, *)
        FiniteDifferences(inputs: [(pattern(count), shape), (pattern(count, seed: 1), shape)]).check { _, x in
            meanSquaredError(x[0], x[1]).sum
        }
    }

    @Test(arguments: [(1, 1, 1), (2, 3, 5), (3, 4, 17)], [false, true])
    func embedding(_ sizes: (samples: Int, positions: Int, columns: Int), _ hasPositions: Bool) {
        let table = Parameter([4, sizes.columns], .uniform(bound: 1))
        // One row more than the context that is used: its gradient is zero.
        let positions = hasPositions ? Parameter([sizes.positions + 1, sizes.columns], .uniform(bound: 1)) : nil
        let tokens = (0..<sizes.samples * sizes.positions).map { Int32($0 * 3 % 4) }
        FiniteDifferences(parameters: [table] + (positions.map { [$0] } ?? [])).check { tape, _ in
            tape.indices(tokens, [sizes.samples, sizes.positions]).embedded(in: table, positions: positions)
        }
    }

    @Test(arguments: [1, 15, 16, 33]) func dropout(_ count: Int) {
        FiniteDifferences(inputs: [(pattern(count), [count])]).check { _, x in x[0].dropout(0.3) }
    }

    static let functions: [(String, @Sendable (Tensor) -> Tensor)] = [
        ("relu", { $0.relu() }), ("gelu", { $0.applying(.geluExact) }), ("gelu tanh", { $0.applying(.geluTanh) }),
        ("exp", { $0.exponential() }), ("log of square", { ($0 * $0).logarithm() }),
        ("tanh", { $0.hyperbolicTangent() }), ("sigmoid", { $0.sigmoid() }), ("negated", { -$0 }),
        ("scaled", { $0 * 3 }), ("shifted", { $0 + 2 }), ("sum", { $0.sum() }), ("mean", { $0.mean() }),
        ("twice", { $0 + $0 }), ("squared", { $0 * $0 }), ("nothing", { $0 - $0 }),
        ("used thrice", { ($0 + $0 * 2).relu() * $0 + $0 }),
        ("reshaped", { $0.reshaped([$0.count]) * $0.reshaped([$0.count]) }),
    ]

    @Test(arguments: functions.indices, [1, 15, 17]) func elementwise(_ index: Int, _ count: Int) {
        FiniteDifferences(inputs: [(pattern(count), [1, count])], step: 1e-3, tolerance: 1e-2).check { _, x in
            Self.functions[index].1(x[0])
        }
    }

    @Test func operators() {
        let inputs = [(pattern(5), [5]), (pattern(5, seed: 1), [5])]
        FiniteDifferences(inputs: inputs).check { _, x in x[0] + x[1] }
        FiniteDifferences(inputs: inputs).check { _, x in x[0] - x[1] }
        FiniteDifferences(inputs: inputs).check { _, x in x[0] * x[1] }
        let row = Parameter([5], .uniform(bound: 1))
        FiniteDifferences(inputs: [(pattern(15), [3, 5])], parameters: [row]).check { _, x in x[0].adding(row: row) }
    }

    @Test(arguments: [(1, 1), (3, 5), (2, 16), (4, 33)]) func unitRows(_ sizes: (rows: Int, columns: Int)) {
        FiniteDifferences(
            inputs: [(pattern(sizes.rows * sizes.columns), [sizes.rows, sizes.columns])], step: 1e-3, tolerance: 1e-2
        ).check { _, x in x[0].unitRows() * 2 + x[0].unitRows() }
        // Shorter than the least: a constant factor.
        FiniteDifferences(inputs: [(pattern(sizes.columns), [1, sizes.columns])]).check { _, x in x[0].unitRows(least: 100) }
    }

    static let convolutions: [(n: Int, h: Int, w: Int, c: Int, o: Int, k: Int, s: Int, p: Int)] = [
        (1, 1, 1, 1, 1, 1, 1, 0), (2, 4, 5, 1, 3, 3, 1, 1), (1, 5, 4, 3, 8, 3, 2, 1), (2, 3, 3, 8, 9, 1, 2, 0),
        (1, 6, 6, 2, 17, 5, 1, 0), (1, 2, 2, 16, 16, 3, 1, 1),
    ]

    @Test(arguments: convolutions, [false, true])
    func convolution(_ s: (n: Int, h: Int, w: Int, c: Int, o: Int, k: Int, s: Int, p: Int), _ hasBias: Bool) {
        let weight = Parameter([s.o, s.c, s.k, s.k], .uniform(bound: 0.5))
        let bias = hasBias ? Parameter([s.o], .uniform(bound: 0.5)) : nil
        FiniteDifferences(
            inputs: [(pattern(s.n * s.h * s.w * s.c), [s.n, s.h, s.w, s.c])], parameters: [weight] + (bias.map { [$0] } ?? []),
            tolerance: 5e-3
        ).check { _, x in x[0].convolved(weight, bias: bias, stride: s.s, padding: s.p) }
    }

    /// The same weights twice, and relu with a short step.
    @Test func convolutionsInARow() {
        let weight = Parameter([3, 3, 3, 3], .uniform(bound: 0.5))
        let bias = Parameter([3], .uniform(bound: 0.5))
        FiniteDifferences(
            inputs: [(pattern(48), [1, 4, 4, 3])], parameters: [weight, bias], step: 1e-3, tolerance: 2e-2
        ).check { _, x in
            x[0].convolved(weight, bias: bias, padding: 1, relu: true).convolved(weight, bias: bias, padding: 1) + x[0]
        }
    }

    @Test(arguments: [(1, 2, 2, 1, 2, 2), (2, 5, 4, 3, 2, 2), (1, 5, 5, 17, 3, 2), (1, 4, 4, 2, 3, 1), (2, 3, 3, 2, 1, 2)])
    func pooling(_ s: (n: Int, h: Int, w: Int, c: Int, kernel: Int, stride: Int)) {
        let differences = FiniteDifferences(inputs: [(pattern(s.n * s.h * s.w * s.c), [s.n, s.h, s.w, s.c])], step: 1e-4, tolerance: 2e-2)
        differences.check { _, x in x[0].maxPooled(s.kernel, stride: s.stride) }
        differences.check { _, x in x[0].averagePooled(s.kernel, stride: s.stride) }
        differences.check { _, x in x[0].averagedOverPositions() }
        // Twice: gradients are added to what is there.
        differences.check { _, x in x[0].maxPooled(s.kernel, stride: s.stride) + x[0].maxPooled(s.kernel, stride: s.stride) }
        differences.check { _, x in x[0].channelsLast(channels: s.c, height: s.h, width: s.w) * 2 }
    }

    @Test(arguments: [(2, 1), (5, 3), (65, 16), (130, 3)], [false, true])
    func batchNormalization(_ sizes: (rows: Int, columns: Int), _ relu: Bool) {
        let gain = Parameter([sizes.columns], .uniform(bound: 1))
        let bias = Parameter([sizes.columns], .uniform(bound: 1))
        let mean = Parameter(statistic: [sizes.columns], .zeros, momentum: 0.1)
        let variance = Parameter(statistic: [sizes.columns], .ones, momentum: 0.1)
        var differences = FiniteDifferences(
            inputs: [(pattern(sizes.rows * sizes.columns), [sizes.rows, sizes.columns])], parameters: [gain, bias],
            step: relu ? 1e-4 : 2e-3, tolerance: relu ? 5e-2 : 1e-2)
        // The statistics are in the arena, and what stands among their gradients is no derivative.
        differences.others = [mean, variance]
        differences.check { _, x in
            x[0].batchNormalized(gain: gain, bias: bias, averageMean: mean, averageVariance: variance, epsilon: 1e-2, relu: relu)
        }
    }

    /// A residual stream: one gradient shared by two branches, then added to in place.
    @Test func sharedGradients() {
        let weight = Parameter([3, 3], .uniform(bound: 1))
        let gain = Parameter([3], .ones)
        FiniteDifferences(inputs: [(pattern(6), [2, 3])], parameters: [weight, gain], tolerance: 1e-2).check { _, x in
            let h = x[0] + x[0].layerNormalized(gain: gain, epsilon: 0.1).linear(weight, activation: .geluExact)
            return h + h.linear(weight)
        }
    }
}
