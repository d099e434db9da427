import CTensorKernels

extension Tensor {
    /// Causal self-attention: out = dropout(softmax(Q K^T / sqrt(D), keys after the query masked)) V, head by head.
    ///
    /// The receiver is (B, T, 3C), queries, keys and values side by side, each of `heads` heads of D = C / heads
    /// columns; the result is (B, T, C). Neither is transposed or copied, and probabilities are not kept: the
    /// backward pass computes them again from one number a row.
    ///
    /// Source: T. Dao et al., "FlashAttention", arXiv:2205.14135, for the recomputation.
    public func causalAttention(heads: Int, dropout: Float = 0) -> Tensor {
        precondition(shape.count == 3 && heads > 0, "attention takes (B, T, 3C) and heads, not \(shape) and \(heads)")
        let (tape, samples, positions, columns) = (tape, shape[0], shape[1], shape[2] / 3)
        precondition(columns * 3 == shape[2], "\(shape[2]) columns are not queries, keys and values")
        precondition(columns % heads == 0, "\(columns) columns do not split into \(heads) heads")
        let headColumns = columns / heads
        var attention = tensor_attention()
        attention.samples = samples
        attention.positions = positions
        attention.heads = heads
        attention.head_columns = headColumns
        attention.scale = 1 / Float(headColumns).squareRoot()
        if let dropped = Dropping(rate: dropout, tape: tape) {
            attention.dropout_threshold = dropped.threshold
            attention.dropout_scale = dropped.scale
            attention.dropout_key = dropped.stream.key
        }
        let y = tape.result([samples, positions, columns], of: [self])
        let logSum = tape.allocate(samples * heads * positions)
        do {
            let count = tensor_attention_scratch(&attention, false)
            let scratch = tape.allocate(count)
            tensor_attention_forward(&attention, y.floats, logSum.floats, floats, scratch.floats, count)
        }

        let (input, inputSlot, output, shape) = (storage, slot, y.storage, attention)
        tape.record(y) { [unowned tape] dy in
            guard let inputSlot else { return }
            var attention = shape
            let count = tensor_attention_scratch(&attention, true)
            let scratch = tape.allocate(count)
            let dx = tape.allocate(inputSlot.count)
            tensor_attention_backward(
                &attention, dx.floats, dy.floats, input.floats, output.floats, logSum.floats, scratch.floats, count)
            inputSlot.add(dx, on: tape)
        }
        return y
    }
}
