import Tensors
import Testing

#if canImport(Glibc)
import Glibc
#endif

/// Forward values against plain loops and the C library in double precision.
@Suite struct ValueTests {
    private func apply(_ inputs: [Float], _ function: (Tensor) -> Tensor) -> [Float] {
        let tape = Tape()
        tape.begin(.inference)
        return function(tape.input(inputs, [inputs.count])).array
    }

    /// Numbers close enough together that every branch of every function is met.
    static let range: [Float] = (-2000...2000).map { Float($0) / 100 }

    @Test func functionsAreAccurate() {
        func compare(_ got: [Float], _ expected: (Double) -> Double, absolute: Double, relative: Double) {
            for (x, y) in zip(Self.range, got) {
                let truth = expected(Double(x))
                #expect(abs(Double(y) - truth) <= absolute + relative * abs(truth), "at \(x)")
            }
        }
        compare(apply(Self.range) { $0.exponential() }, { exp($0) }, absolute: 0, relative: 2e-7)
        compare(apply(Self.range) { $0.hyperbolicTangent() }, { tanh($0) }, absolute: 0, relative: 4e-7)
        compare(apply(Self.range) { $0.sigmoid() }, { 1 / (1 + exp(-$0)) }, absolute: 0, relative: 4e-7)
        compare(
            apply(Self.range) { $0.applying(.geluExact) }, { 0.5 * $0 * erfc(-$0 / 2.0.squareRoot()) }, absolute: 4e-7,
            relative: 2e-7)
        compare(
            apply(Self.range) { $0.applying(.geluTanh) },
            { 0.5 * $0 * (1 + tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))) }, absolute: 4e-7,
            relative: 2e-7)
        let positive = (1...4000).map { Float($0) * Float($0) / 1000 }
        for (x, y) in zip(positive, apply(positive) { $0.logarithm() }) {
            #expect(abs(Double(y) - log(Double(x))) <= 1e-7 + 2e-7 * abs(log(Double(x))), "log at \(x)")
        }
    }

    @Test func functionsAtTheEnds() {
        #expect(apply([100, -100, .infinity, -.infinity]) { $0.exponential() }[1...3] == [0, .infinity, 0])
        #expect(apply([0, .infinity]) { $0.logarithm() } == [-.infinity, .infinity])
        #expect(apply([100, -100]) { $0.hyperbolicTangent() } == [1, -1])
        #expect(apply([200, -200]) { $0.sigmoid() } == [1, 0])
        let functions: [(Tensor) -> Tensor] = [
            { $0.exponential() }, { $0.logarithm() }, { $0.hyperbolicTangent() }, { $0.sigmoid() }, { $0.relu() },
            { $0.applying(.geluExact) }, { $0.applying(.geluTanh) },
        ]
        for function in functions { #expect(apply([.nan], function)[0].isNaN) }
        #expect(apply([-1], { $0.logarithm() })[0].isNaN)
    }

    @Test(arguments: [(1, 1), (2, 15), (3, 16), (2, 33)]) func attentionIsSoftmaxOfEarlierPositions(_ sizes: (heads: Int, positions: Int)) {
        let (heads, positions, columns) = (sizes.heads, sizes.positions, 3)
        let width = heads * columns
        let elements = pattern(2 * positions * 3 * width, scale: 2)
        let tape = Tape()
        let got = tape.input(elements, [2, positions, 3 * width]).causalAttention(heads: heads).array
        for b in 0..<2 {
            for h in 0..<heads {
                for t in 0..<positions {
                    func at(_ position: Int, _ part: Int, _ column: Int) -> Double {
                        Double(elements[(b * positions + position) * 3 * width + part * width + h * columns + column])
                    }
                    let scores = (0...t).map { s in
                        exp((0..<columns).reduce(0.0) { $0 + at(t, 0, $1) * at(s, 1, $1) } / Double(columns).squareRoot())
                    }
                    let total = scores.reduce(0, +)
                    for column in 0..<columns {
                        let expected = (0...t).reduce(0.0) { $0 + scores[$1] / total * at($1, 2, column) }
                        let value = got[(b * positions + t) * width + h * columns + column]
                        #expect(abs(Double(value) - expected) < 1e-5)
                    }
                }
            }
        }
    }

    @Test func crossEntropyCountsLabels() {
        let tape = Tape()
        let logits = pattern(4 * 5, scale: 3)
        let loss = softmaxCrossEntropy(tape.input(logits, [4, 5]), tape.indices([0, -1, 4, 2], [4]))
        var expected = 0.0
        for (row, label) in [(0, 0), (2, 4), (3, 2)] {
            let scores = logits[row * 5..<row * 5 + 5].map(Double.init)
            expected += log(scores.reduce(0) { $0 + exp($1) }) - scores[label]
        }
        #expect(loss.weight == 3)
        #expect(abs(Double(loss.sum.item) - expected) < 1e-6 * expected)
        #expect(abs(loss.mean - expected / 3) < 1e-6)
    }

    @Test func crossEntropyOfLargeLogits() {
        let tape = Tape()
        let loss = softmaxCrossEntropy(tape.input([1e4, -1e4, 3e38, -3e38], [2, 2]), tape.indices([1, 1], [2]))
        #expect(loss.sum.item == .infinity || loss.sum.item > 3e38)
        let certain = softmaxCrossEntropy(tape.input([1e4, -1e4], [1, 2]), tape.indices([0], [1]))
        #expect(certain.sum.item == 0)
    }

    @Test func meanSquaredErrorIsPerSample() {
        let tape = Tape()
        let loss = meanSquaredError(tape.input([1, 2, 3, 4], [2, 2]), tape.input([0, 0, 0, 0], [2, 2]))
        #expect(loss.weight == 2)
        #expect(loss.sum.item == 15)
        #expect(loss.mean == 7.5)
    }

    @Test func emptyBatches() {
        let tape = Tape()
        let loss = softmaxCrossEntropy(tape.input([], [0, 3]), tape.indices([], [0]))
        #expect(loss.sum.item == 0)
        #expect(loss.weight == 0)
        #expect(tape.input([], [0, 3]).matrixProduct(tape.input([1, 2, 3], [3, 1])).shape == [0, 1])
        #expect(tape.input([], [2, 0]).matrixProduct(tape.input([], [0, 3])).array == [0, 0, 0, 0, 0, 0])
    }

    @Test func lossFromAMeanWeighsItems() {
        let tape = Tape()
        let loss = Loss(mean: tape.input([2, 4], [2]).mean(), weight: 5)
        #expect(loss.sum.item == 15)
        #expect(loss.mean == 3)
    }
}
