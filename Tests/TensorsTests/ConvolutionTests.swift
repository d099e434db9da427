import CTensorKernels
import TestSupport
import Testing

/// `tensor_convolution_...`: every kernel gives the bits of the chains that their comments describe.
@Suite struct ConvolutionTests {
    /// One convolution with its data, and what it is by definition.
    private struct Case {
        let shape: tensor_convolution_shape
        let (height, width): (Int, Int)
        var x: [Float], weight: [Float], bias: [Float], dy: [Float]

        init(_ s: [Int], _ random: inout SeededGenerator) {
            shape = tensor_convolution_shape(
                samples: s[0], height: s[1], width: s[2], inputs: s[3], outputs: s[4], kernel: s[5], stride: s[6], padding: s[7])
            height = tensor_convolution_output(s[1], s[5], s[6], s[7])
            width = tensor_convolution_output(s[2], s[5], s[6], s[7])
            func draw(_ count: Int) -> [Float] { (0..<count).map { _ in Float(Int32(truncatingIfNeeded: random.next())) / 0x1p31 } }
            x = draw(s[0] * s[1] * s[2] * s[3])
            weight = draw(s[4] * s[3] * s[5] * s[5])
            bias = draw(s[4])
            dy = draw(s[0] * height * width * s[4])
        }

        func x(_ n: Int, _ row: Int, _ column: Int, _ c: Int) -> Float {
            guard (0..<shape.height).contains(row), (0..<shape.width).contains(column) else { return 0 }
            return x[((n * shape.height + row) * shape.width + column) * shape.inputs + c]
        }

        func dy(_ n: Int, _ row: Int, _ column: Int, _ o: Int) -> Float {
            guard (0..<height).contains(row), (0..<width).contains(column) else { return 0 }
            return dy[((n * height + row) * width + column) * shape.outputs + o]
        }

        func weight(_ o: Int, _ c: Int, _ u: Int, _ v: Int) -> Float {
            weight[((o * shape.inputs + c) * shape.kernel + u) * shape.kernel + v]
        }

        func forward(bias: [Float]?, relu: Bool) -> [Float] {
            let s = shape
            return (0..<s.samples * height * width * s.outputs).map { index in
                let (o, place) = (index % s.outputs, index / s.outputs)
                let (n, i, j) = (place / (height * width), place / width % height, place % width)
                var chain = Chain()
                for u in 0..<s.kernel {
                    for v in 0..<s.kernel {
                        for c in 0..<s.inputs {
                            chain.add(x(n, i * s.stride + u - s.padding, j * s.stride + v - s.padding, c), weight(o, c, u, v))
                        }
                    }
                }
                let value = bias.map { chain.value + $0[o] } ?? chain.value
                return relu && value < 0 ? 0 : value
            }
        }

        func dataGradient() -> [Float] {
            let s = shape
            return x.indices.map { index in
                let (c, place) = (index % s.inputs, index / s.inputs)
                let (n, row, column) = (place / (s.height * s.width), place / s.width % s.height, place % s.width)
                var chain = Chain()
                for u in stride(from: s.kernel - 1, through: 0, by: -1) where (row + s.padding - u) % s.stride == 0 {
                    for v in stride(from: s.kernel - 1, through: 0, by: -1) where (column + s.padding - v) % s.stride == 0 {
                        for o in 0..<s.outputs {
                            chain.add(dy(n, (row + s.padding - u) / s.stride, (column + s.padding - v) / s.stride, o), weight(o, c, u, v))
                        }
                    }
                }
                return chain.value
            }
        }

        func weightGradient() -> [Float] {
            let s = shape
            return weight.indices.map { index in
                let (v, u) = (index % s.kernel, index / s.kernel % s.kernel)
                let (c, o) = (index / (s.kernel * s.kernel) % s.inputs, index / (s.kernel * s.kernel * s.inputs))
                var chain = Chain()
                for n in 0..<s.samples {
                    for i in 0..<height {
                        for j in 0..<width {
                            chain.add(x(n, i * s.stride + u - s.padding, j * s.stride + v - s.padding, c), dy(n, i, j, o))
                        }
                    }
                }
                return chain.value
            }
        }

        /// What a kernel makes of it.
        func run(
            _ count: Int, _ kernel: (UnsafePointer<tensor_convolution_shape>, UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>, Int) -> Void
        ) -> [Float] {
            withUnsafePointer(to: shape) { shape in
                let scratchCount = tensor_convolution_scratch(shape)
                var scratch = [Float](repeating: .nan, count: scratchCount + 1)
                scratch[scratchCount] = 7
                var result = [Float](repeating: .nan, count: count)
                kernel(shape, &result, &scratch, scratchCount)
                #expect(scratch[scratchCount] == 7, "no more scratch memory than was asked for")
                return result
            }
        }
    }

    /// Samples, height, width, inputs, outputs, kernel, stride, padding: what fills tiles and what does not, kernels with gaps between them,
    /// padding beyond the kernel, chains that end within a row of the kernel and within a line of the image.
    @Test(arguments: [
        [1, 1, 1, 1, 1, 1, 1, 0], [2, 5, 7, 1, 3, 3, 1, 1], [3, 8, 8, 16, 48, 3, 1, 1], [2, 9, 6, 5, 17, 3, 2, 1], [1, 7, 7, 3, 16, 5, 3, 2],
        [2, 6, 6, 40, 20, 3, 1, 1], [1, 4, 5, 2, 3, 2, 2, 0], [1, 5, 5, 3, 4, 1, 2, 0], [1, 3, 3, 2, 5, 3, 1, 4], [4, 10, 10, 6, 33, 3, 1, 0],
        [1, 19, 2, 4, 8, 2, 3, 1],
    ])
    func everyKernelGivesTheChains(_ s: [Int]) {
        var random = SeededGenerator(seed: UInt64(s.reduce(7) { $0 * 31 + $1 }))
        let a = Case(s, &random)
        let (plain, full) = (a.forward(bias: nil, relu: false), a.forward(bias: a.bias, relu: true))
        let (data, weights) = (a.dataGradient(), a.weightGradient())
        KernelLevels.forEachWithThreads { name in
            #expect(sameBits(a.run(plain.count) { tensor_convolution_forward($0, $1, a.x, a.weight, nil, false, $2, $3) }, plain), "\(name)")
            #expect(sameBits(a.run(full.count) { tensor_convolution_forward($0, $1, a.x, a.weight, a.bias, true, $2, $3) }, full), "\(name)")
            #expect(sameBits(a.run(data.count) { tensor_convolution_backward_data($0, $1, a.dy, a.weight, $2, $3) }, data), "\(name)")
            #expect(sameBits(a.run(weights.count) { tensor_convolution_backward_weights($0, $1, a.dy, a.x, $2, $3) }, weights), "\(name)")
        }
    }
}
