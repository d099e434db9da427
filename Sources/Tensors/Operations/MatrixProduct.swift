import CTensorKernels

extension Tensor {
    /// The matrix product op(x) op(other) of two matrices, where op transposes if asked to: (m, k) and (k, n) give
    /// (m, n).
    public func matrixProduct(_ other: Tensor, transposeSelf: Bool = false, transposeOther: Bool = false) -> Tensor {
        precondition(shape.count == 2 && other.shape.count == 2, "\(shape) and \(other.shape) are not both matrices")
        let (m, k) = transposeSelf ? (shape[1], shape[0]) : (shape[0], shape[1])
        let (otherK, n) = transposeOther ? (other.shape[1], other.shape[0]) : (other.shape[0], other.shape[1])
        precondition(k == otherK, "inner dimensions differ: \(k) and \(otherK)")
        let tape = tape
        let y = tape.result([m, n], of: [self, other])
        tape.multiply(floats, other.floats, into: y.floats, m, n, k, transposeA: transposeSelf, transposeB: transposeOther)

        let (a, b, aSlot, bSlot) = (storage, other.storage, slot, other.slot)
        tape.record(y) { [unowned tape] dy in
            if let aSlot {
                // d op(a) = dy op(b)^T; a transposed a takes the transpose of that.
                let da = aSlot.destination(on: tape)
                if transposeSelf {
                    tape.multiply(
                        b.floats, dy.floats, into: da.values, k, m, n, transposeA: transposeOther, transposeB: true,
                        accumulate: da.accumulate)
                } else {
                    tape.multiply(
                        dy.floats, b.floats, into: da.values, m, k, n, transposeB: !transposeOther,
                        accumulate: da.accumulate)
                }
            }
            if let bSlot {
                // d op(b) = op(a)^T dy.
                let db = bSlot.destination(on: tape)
                if transposeOther {
                    tape.multiply(
                        dy.floats, a.floats, into: db.values, n, k, m, transposeA: true, transposeB: transposeSelf,
                        accumulate: db.accumulate)
                } else {
                    tape.multiply(
                        a.floats, dy.floats, into: db.values, k, n, m, transposeA: !transposeSelf,
                        accumulate: db.accumulate)
                }
            }
        }
        return y
    }
}

extension Tape {
    /// c = op(a) op(b), or c += op(a) op(b), in the tape's precision: op(a) is m x k, op(b) k x n, c m x n, all contiguous.
    func multiply(
        _ a: UnsafeMutablePointer<Float>, _ b: UnsafeMutablePointer<Float>, into c: UnsafeMutablePointer<Float>,
        _ m: Int, _ n: Int, _ k: Int, transposeA: Bool = false, transposeB: Bool = false, accumulate: Bool = false
    ) {
        let rounds = precision == .bfloat16
        let scratchCount = tensor_gemm_scratch(rounds, transposeA, transposeB, m, n, k)
        let scratch = allocate(scratchCount)
        tensor_gemm(
            rounds, transposeA, transposeB, m, n, k, a, transposeA ? m : k, b, transposeB ? k : n, accumulate, c, n, scratch.floats,
            scratchCount)
    }
}
