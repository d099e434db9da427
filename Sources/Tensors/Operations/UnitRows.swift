import CTensorKernels

extension Tensor {
    /// y = x / max(|x|, least) over the last dimension: rows of Euclidean norm 1, as PyTorch's `normalize` makes them.
    public func unitRows(least: Float = 1e-12) -> Tensor {
        let (tape, rows, columns) = (tape, rows, columns)
        let y = tape.result(shape, of: [self])
        let inverse = tape.allocate(rows)
        tensor_unit_rows(y.floats, inverse.floats, floats, rows, columns, least)
        let (slot, output) = (slot, y.storage)
        tape.record(y) { [unowned tape] dy in
            guard let dx = slot?.destination(on: tape) else { return }
            tensor_unit_rows_backward(
                dx.values, dx.accumulate, dy.floats, output.floats, inverse.floats, rows, columns, least)
        }
        return y
    }
}
