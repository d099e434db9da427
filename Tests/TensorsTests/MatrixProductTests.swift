import CTensorKernels
import TestSupport
import Testing

/// `tensor_gemm`: every kernel gives the bits of a chain written down in ten lines.
@Suite struct MatrixProductTests {
    /// A product's arguments, with gaps behind rows.
    private struct Product {
        var (m, n, k): (Int, Int, Int)
        var transposeA = false
        var transposeB = false
        var accumulate = false
        var gap = 0
        var a: [Float] = []
        var b: [Float] = []
        var before: [Float] = []

        var strideA: Int { (transposeA ? m : k) + gap }
        var strideB: Int { (transposeB ? k : n) + gap }
        var strideC: Int { n + gap }

        init(_ m: Int, _ n: Int, _ k: Int, _ random: inout SeededGenerator, gap: Int = 0, values: (inout SeededGenerator) -> Float) {
            (self.m, self.n, self.k, self.gap) = (m, n, k, gap)
            (transposeA, transposeB, accumulate) = (random.next() % 2 == 0, random.next() % 2 == 0, random.next() % 2 == 0)
            a = (0..<(transposeA ? k : m) * strideA).map { _ in values(&random) }
            b = (0..<(transposeB ? n : k) * strideB).map { _ in values(&random) }
            before = (0..<m * strideC).map { _ in values(&random) }
        }

        func a(_ i: Int, _ l: Int) -> Float { a[transposeA ? l * strideA + i : i * strideA + l] }
        func b(_ l: Int, _ j: Int) -> Float { b[transposeB ? j * strideB + l : l * strideB + j] }

        /// What `tensor_gemm` makes of it.
        func run(bfloat16: Bool = false, scratchOf filler: Float = 7) -> [Float] {
            var c = before
            let count = tensor_gemm_scratch(bfloat16, transposeA, transposeB, m, n, k)
            var scratch = [Float](repeating: filler, count: count + 1)
            tensor_gemm(
                bfloat16, transposeA, transposeB, m, n, k, a, strideA, b, strideB, accumulate, &c, strideC, &scratch, count)
            #expect(scratch.last.map { $0.bitPattern } == filler.bitPattern, "no more scratch memory than was asked for")
            return c
        }

        /// The same from the definition.
        func expected(_ element: (_ i: Int, _ j: Int, _ before: Float?) -> Float) -> [Float] {
            var c = before
            for i in 0..<m { for j in 0..<n { c[i * strideC + j] = element(i, j, accumulate ? before[i * strideC + j] : nil) } }
            return c
        }

        func chains() -> [Float] {
            expected { i, j, before in
                var chain = Chain(addingTo: before)
                for l in 0..<k { chain.add(a(i, l), b(l, j)) }
                return chain.value
            }
        }
    }

    private static func uniform(_ random: inout SeededGenerator) -> Float { Float(Int32(truncatingIfNeeded: random.next())) / 0x1p31 }

    /// Tiles are 8 x 48 or 6 x 16, chains 256 deep, blocks three chains; up to 128 rows b is read in place, from 16 on it may be turned.
    @Test(arguments: [
        (0, 3, 2), (3, 0, 2), (2, 3, 0), (1, 1, 1), (5, 15, 7), (8, 48, 8), (9, 49, 9), (7, 47, 255), (6, 16, 256), (17, 33, 257),
        (13, 129, 40), (2, 530, 513), (16, 96, 770), (64, 300, 33), (129, 64, 20), (130, 17, 1025),
    ])
    func everyKernelGivesTheChain(m: Int, n: Int, k: Int) {
        var random = SeededGenerator(seed: UInt64(m * 7919 + n * 31 + k))
        for gap in [0, 1, 5, 3] {
            let product = Product(m, n, k, &random, gap: gap, values: Self.uniform)
            let expected = product.chains()
            KernelLevels.forEachWithThreads { name in
                #expect(sameBits(product.run(), expected), "\(name), gap \(gap), \(product.transposeA) \(product.transposeB)")
                #expect(sameBits(product.run(scratchOf: .nan), expected), "\(name): nothing is read from scratch memory")
            }
        }
    }

    @Test func randomShapes() {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<60 {
            let (m, n, k) = (Int(random.next() % 40) + 1, Int(random.next() % 120) + 1, Int(random.next() % 300) + 1)
            let product = Product(m, n, k, &random, gap: Int(random.next() % 4), values: Self.uniform)
            let expected = product.chains()
            KernelLevels.forEachWithThreads { #expect(sameBits(product.run(), expected), "\(m) \(n) \(k), \($0)") }
        }
    }

    /// Rows that are a multiple of 4 KiB apart are copied first.
    @Test func rowsThatFallOnOneAnotherInTheCache() {
        var random = SeededGenerator(seed: 4)
        for (m, n, k) in [(21, 100, 1020), (1024 - 3, 30, 17), (37, 97, 2045)] {
            let product = Product(m, n, k, &random, gap: 3 + (k == 1020 ? 1 : 0), values: Self.uniform)
            let expected = product.chains()
            KernelLevels.forEach { #expect(sameBits(product.run(), expected), "\(m) \(n) \(k), \($0)") }
        }
    }

    @Test func whatIsNoNumberStaysSo() {
        var random = SeededGenerator(seed: 5)
        var product = Product(9, 20, 300, &random, values: Self.uniform)
        product.a[3] = .nan
        product.b[7] = .infinity
        product.before[5] = -.infinity
        let expected = product.chains()
        KernelLevels.forEach { #expect(sameBits(product.run(), expected), "\($0)") }
    }

    // MARK: bfloat16

    /// To eight bits, ties to even; what has no normal number is zero.
    static func rounded(_ x: Float) -> Float {
        guard x.isFinite else { return x }
        let bits = x.bitPattern, upper = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000
        return Float(bitPattern: upper & 0x7f80_0000 == 0 ? upper & 0x8000_0000 : upper)
    }

    /// x * y + sum rounded once to nearest even; zero where 24 bits of the value, whatever the exponent, are below the smallest normal number.
    private static func flushing(_ sum: Float, _ x: Float, _ y: Float) -> Float {
        let result = sum.addingProduct(x, y)
        guard result.magnitude <= .leastNormalMagnitude else { return result }
        // A hundred and fifty powers of two higher there are no numbers that are too small; the sum has at most 24 bits more than fit.
        let scaled = (sum * 0x1p75 * 0x1p75).addingProduct(x * 0x1p75, y * 0x1p75)
        return scaled.magnitude < Float.leastNormalMagnitude * 0x1p75 * 0x1p75
            ? Float(sign: result.sign, exponent: 0, significand: 0) : result
    }

    private func pairChains(_ product: Product) -> [Float] {
        product.expected { i, j, before in
            var total = before
            for first in stride(from: 0, to: max(product.k, 1), by: 256) {
                var sum: Float = 0
                for l in stride(from: first, to: min(first + 256, product.k), by: 2) {
                    let hasOdd = l + 1 < product.k
                    sum = Self.flushing(
                        sum, hasOdd ? Self.rounded(product.a(i, l + 1)) : 0, hasOdd ? Self.rounded(product.b(l + 1, j)) : 0)
                    sum = Self.flushing(sum, Self.rounded(product.a(i, l)), Self.rounded(product.b(l, j)))
                }
                let added = total.map { $0 + sum } ?? sum
                total = added.magnitude < .leastNormalMagnitude ? Float(sign: added.sign, exponent: 0, significand: 0) : added
            }
            return total!
        }
    }

    /// By VDPBF16PS where the CPU has it, by floats elsewhere: every way.
    private func checkBFloat16(_ product: Product, _ name: String) {
        let expected = pairChains(product)
        KernelLevels.forEachWithThreads { level in
            #expect(sameBits(product.run(bfloat16: true), expected), "\(name), \(level)")
            guard tensor_use_pairs(true) else { return }
            #expect(sameBits(product.run(bfloat16: true), expected), "\(name), \(level), by pairs")
            _ = tensor_use_pairs(false)
            #expect(sameBits(product.run(bfloat16: true, scratchOf: .nan), expected), "\(name), \(level), by floats")
        }
    }

    @Test(arguments: [(1, 1, 1), (3, 5, 7), (17, 33, 64), (64, 65, 1), (8, 48, 256), (9, 50, 257), (19, 97, 513), (20, 130, 777)])
    func bfloat16GivesTheChainOfPairs(m: Int, n: Int, k: Int) {
        var random = SeededGenerator(seed: UInt64(m + n + k))
        for gap in [0, 2, 1] { checkBFloat16(Product(m, n, k, &random, gap: gap, values: Self.uniform), "\(m) \(n) \(k) \(gap)") }
    }

    /// Factors and sums around the smallest normal number, and beyond it.
    @Test func bfloat16FlushesWhatIsTooSmall() {
        var random = SeededGenerator(seed: 8)
        for depth in [70, 135] {
            let product = Product(11, 40, 70, &random) { random in
                Self.uniform(&random) * Float(sign: .plus, exponent: -Int(random.next() % UInt64(depth)), significand: 1)
            }
            checkBFloat16(product, "exponents to -\(depth)")
        }
    }
}
