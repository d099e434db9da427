import CTensorKernels

extension Indices {
    /// Rows of a table: y[..., :] = table[index, :], (..., C) for indices (...) and a table (V, C).
    ///
    /// With `positions` (P, C), which needs indices (B, T) with T at most P, row t of it is added to position t of
    /// every sample in the same pass. An index outside 0 ..< V is a programming error: data is checked where it is
    /// read.
    public func embedded(in table: Parameter, positions: Parameter? = nil) -> Tensor {
        precondition(table.shape.count == 2, "an embedding's table is a matrix, not \(table.shape)")
        let (tape, count, vocabulary, columns) = (tape, count, table.shape[0], table.shape[1])
        let period = positions == nil ? max(count, 1) : shape.last ?? 1
        if let positions {
            precondition(
                positions.shape.count == 2 && positions.shape[1] == columns && period <= positions.shape[0],
                "positions of shape \(positions.shape) do not fit indices \(shape) and a table \(table.shape)")
        }
        let parameters = [table] + (positions.map { [$0] } ?? [])
        let y = tape.result(shape + [columns], of: [], parameters: parameters)
        let bad = tensor_embed(
            y.floats, table.values, positions?.values, integers, count, period, vocabulary, columns)
        precondition(bad < 0, "index \(values[max(bad, 0)]) at \(bad) is outside 0 ..< \(vocabulary)")

        let indices = storage
        tape.record(y, parameters: parameters) { [unowned tape] dy in
            let dtable = tape.gradientDestination(of: table)
            if !dtable.accumulate { dtable.values.update(repeating: 0, count: table.count) }
            tensor_embed_backward(dtable.values, dy.floats, indices.integers, count, columns)
            if let positions {
                let dpositions = tape.gradientDestination(of: positions)
                // Positions beyond the context of this pass had no part in it.
                let used = period * columns
                if !dpositions.accumulate {
                    (dpositions.values + used).update(repeating: 0, count: positions.count - used)
                    if count == 0 { dpositions.values.update(repeating: 0, count: used) }
                }
                tensor_embed_positions_backward(
                    dpositions.values, dpositions.accumulate, dy.floats, count, period, columns)
            }
        }
        return y
    }
}
