import CTensorKernels

/// oneDNN's primitive for a matrix product of one shape, kept by the tape that first met the shape. Used on the tape's thread.
package final class MatrixProductPlan {
    /// All that tells one plan from another: op(a) is m x k, op(b) k x n, and all matrices are contiguous.
    package struct Shape: Hashable {
        package var m: Int
        package var n: Int
        package var k: Int
        package var transposeA: Bool
        package var transposeB: Bool
        package var accumulate: Bool
        /// Whether both factors are bfloat16; float32 otherwise. The result is float32.
        package var isBFloat16: Bool

        package init(m: Int, n: Int, k: Int, transposeA: Bool, transposeB: Bool, accumulate: Bool, isBFloat16: Bool) {
            (self.m, self.n, self.k) = (m, n, k)
            (self.transposeA, self.transposeB, self.accumulate, self.isBFloat16) = (transposeA, transposeB, accumulate, isBFloat16)
        }
    }

    private let plan: OpaquePointer
    /// Floats of scratch memory, 64-byte aligned, that each use needs.
    package let scratchCount: Int

    package init(_ shape: Shape) {
        var description = tensor_product_shape(
            m: shape.m, n: shape.n, k: shape.k, transpose_a: shape.transposeA, transpose_b: shape.transposeB,
            accumulate: shape.accumulate, is_bfloat16: shape.isBFloat16)
        guard let plan = tensor_product_create(&description) else { fatalError("oneDNN refused a matrix product: \(shape)") }
        self.plan = plan
        scratchCount = tensor_product_scratch(plan)
    }

    deinit { tensor_product_free(plan) }

    /// c = op(a) op(b), or c += op(a) op(b).
    package func run(
        _ a: UnsafeRawPointer, _ b: UnsafeRawPointer, into c: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>
    ) {
        guard tensor_product_run(plan, c, a, b, scratch) else { fatalError("oneDNN failed at a matrix product: out of memory?") }
    }
}
