import CTensorKernels
import Testing

/// `tensor_gemm`, whose own kernel and oneDNN's share the products out between them by size.
@Suite struct MatrixProductTests {
    private func pattern(_ count: Int, _ key: Int) -> [Float] { (0..<count).map { Float(($0 * 37 + key * 11) % 101) / 50 - 1 } }

    /// Tiles are 6 x 16; blocks are 192 rows, 512 columns, 256 deep. The last size is oneDNN's on every CPU.
    @Test(arguments: [
        (0, 3, 2), (3, 0, 2), (2, 3, 0), (1, 1, 1), (5, 15, 7), (6, 16, 8), (7, 17, 9), (12, 24, 255), (191, 31, 256), (193, 33, 257),
        (13, 513, 40), (2, 1030, 513), (700, 700, 600),
    ])
    func everyShapeAndStride(m: Int, n: Int, k: Int) {
        for (transposeA, transposeB, accumulate, gap) in [
            (false, false, false, 0), (true, false, true, 3), (false, true, true, 1), (true, true, false, 5), (true, false, false, 0),
        ] {
            let (strideA, strideB, strideC) = ((transposeA ? m : k) + gap, (transposeB ? k : n) + gap, n + gap)
            let (a, b) = (pattern((transposeA ? k : m) * strideA, 1), pattern((transposeB ? n : k) * strideB, 2))
            let before = pattern(m * strideC, 3)
            func product(scratchOf filler: Float) -> [Float] {
                var c = before
                var scratch = [Float](repeating: filler, count: tensor_gemm_scratch(transposeA, m, n, k) + 1)
                #expect(
                    tensor_gemm(
                        transposeA, transposeB, m, n, k, a, strideA, b, strideB, accumulate, &c, strideC, &scratch))
                #expect(scratch.last.map { $0.bitPattern } == filler.bitPattern, "no more scratch memory than was asked for")
                return c
            }
            let c = product(scratchOf: 7)
            #expect(product(scratchOf: .nan) == c)
            var worst = 0.0
            // Some rows of a large product say enough.
            for i in stride(from: 0, to: m, by: max(m / 40, 1)) {
                for j in 0..<n {
                    var sum = accumulate ? Double(before[i * strideC + j]) : 0
                    for l in 0..<k {
                        sum += Double(a[transposeA ? l * strideA + i : i * strideA + l])
                            * Double(b[transposeB ? j * strideB + l : l * strideB + j])
                    }
                    worst = max(worst, abs(Double(c[i * strideC + j]) - sum))
                }
                for j in n..<strideC { #expect(c[i * strideC + j] == before[i * strideC + j], "gaps are left alone") }
            }
            #expect(worst < 1e-6 * Double(k + 1) + 1e-6, "\(transposeA) \(transposeB) \(accumulate) \(gap)")
        }
    }
}
