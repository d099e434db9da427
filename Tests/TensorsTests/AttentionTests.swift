import CTensorKernels
import TestSupport
import Testing

/// `tensor_attention_...`: the products within are those of `tensor_gemm`, block by block; values and gradients are compared with finite
/// differences in `GradientTests`.
@Suite struct AttentionTests {
    private func attention(_ samples: Int, _ positions: Int, _ heads: Int, _ columns: Int, dropout: Bool) -> tensor_attention {
        var shape = tensor_attention()
        (shape.samples, shape.positions, shape.heads, shape.head_columns) = (samples, positions, heads, columns)
        shape.scale = 1 / Float(columns).squareRoot()
        if dropout {
            (shape.dropout_threshold, shape.dropout_scale) = (1 << 29, 1 / (1 - 0x1p-3))
            shape.dropout_key = tensor_random_key(key: 5, a: 1, b: 2, c: 3)
        }
        return shape
    }

    private func draw(_ count: Int, _ random: inout SeededGenerator) -> [Float] {
        (0..<count).map { _ in Float(Int32(truncatingIfNeeded: random.next())) / 0x1p31 }
    }

    /// Result, logarithms and gradients.
    private func run(_ shape: tensor_attention, _ qkv: [Float], _ dout: [Float]) -> [[Float]] {
        withUnsafePointer(to: shape) { shape in
            let rows = shape.pointee.samples * shape.pointee.positions
            var out = [Float](repeating: .nan, count: dout.count)
            var logSum = [Float](repeating: .nan, count: rows * shape.pointee.heads)
            var dqkv = [Float](repeating: .nan, count: qkv.count)
            for backward in [false, true] {
                let count = tensor_attention_scratch(shape, backward)
                var scratch = [Float](repeating: .nan, count: count + 1)
                scratch[count] = 7
                if backward {
                    tensor_attention_backward(shape, &dqkv, dout, qkv, out, logSum, &scratch, count)
                } else {
                    tensor_attention_forward(shape, &out, &logSum, qkv, &scratch, count)
                }
                #expect(scratch[count] == 7, "no more scratch memory than was asked for")
            }
            return [out, logSum, dqkv]
        }
    }

    @Test(arguments: [(1, 1, 1, 1), (2, 5, 3, 7), (1, 64, 2, 16), (2, 65, 1, 33), (1, 130, 3, 64), (3, 300, 1, 20)], [false, true])
    func everyKernelGivesTheSame(_ size: (Int, Int, Int, Int), dropout: Bool) {
        var random = SeededGenerator(seed: UInt64(size.1))
        let shape = attention(size.0, size.1, size.2, size.3, dropout: dropout)
        let count = size.0 * size.1 * size.2 * size.3
        let (qkv, dout) = (draw(3 * count, &random), draw(count, &random))
        let expected = run(shape, qkv, dout)
        #expect(expected.allSatisfy { $0.allSatisfy(\.isFinite) }, "everything is written")
        KernelLevels.forEachWithThreads { name in
            for (got, wanted) in zip(run(shape, qkv, dout), expected) { #expect(sameBits(got, wanted), "\(name)") }
        }
    }

    /// One head of one block: out = P V is a chain over the keys, and so are the gradients.
    @Test func aBlocksProductsAreChains() {
        let (positions, columns) = (50, 12)
        var random = SeededGenerator(seed: 9)
        let shape = attention(1, positions, 1, columns, dropout: false)
        let (qkv, dout) = (draw(3 * positions * columns, &random), draw(positions * columns, &random))
        let result = run(shape, qkv, dout)
        func element(_ part: Int, _ row: Int, _ column: Int) -> Float { qkv[row * 3 * columns + part * columns + column] }
        // With probabilities of one key only, the value's row comes out as it is: the first position sees itself alone.
        for column in 0..<columns { #expect(result[0][column] == element(2, 0, column)) }
        // The last position's value gradient has one summand a row, of which the last row's alone is not masked.
        let last = positions - 1
        var scores: [Float] = []
        for key in 0..<positions {
            var chain = Chain()
            for column in 0..<columns { chain.add(element(0, last, column), element(1, key, column)) }
            scores.append(chain.value)
        }
        let logSum = Double(result[1][last])
        for (column, gradient) in result[2][(last * 3 + 2) * columns..<(last * 3 + 3) * columns].enumerated() {
            let probability = exp64(Double(shape.scale) * Double(scores[last]) - logSum)
            #expect(abs(Double(gradient) - probability * Double(dout[last * columns + column])) < 1e-6)
        }
    }

    /// e^x by its series, for a moderate x.
    private func exp64(_ x: Double) -> Double { (1..<60).reversed().reduce(1.0) { 1 + x / Double($1) * $0 } }
}
