import CTensorKernels

extension Tensor {
    /// y = (x - mean) / sqrt(variance + epsilon) * gain + bias over the last dimension C; gain and bias are (C).
    ///
    /// Source: J. Ba, J. Kiros, G. Hinton, arXiv:1607.06450; the biased variance, as PyTorch takes it.
    public func layerNormalized(gain: Parameter, bias: Parameter? = nil, epsilon: Float = 1e-5) -> Tensor {
        let (tape, rows, columns) = (tape, rows, columns)
        precondition(gain.shape == [columns], "a gain of shape \(gain.shape) does not fit \(shape)")
        precondition(bias.map { $0.shape == [columns] } ?? true, "the bias does not fit \(shape)")
        let parameters = [gain] + (bias.map { [$0] } ?? [])
        let y = tape.result(shape, of: [self], parameters: parameters)
        let statistics = tape.allocate(2 * rows)
        tensor_layer_norm(
            y.floats, statistics.floats, statistics.floats + rows, floats, gain.values, bias?.values, rows, columns,
            epsilon)

        let (input, inputSlot) = (storage, slot)
        tape.record(y, parameters: parameters) { [unowned tape] dy in
            let dx = inputSlot?.destination(on: tape)
            let dgain = tape.gradientDestination(of: gain)
            let dbias = bias.map { tape.gradientDestination(of: $0) }
            tensor_layer_norm_backward(
                dx?.values, dx?.accumulate ?? false, dgain.values, dgain.accumulate, dbias?.values,
                dbias?.accumulate ?? false, dy.floats, input.floats, statistics.floats, statistics.floats + rows,
                gain.values, rows, columns)
        }
        return y
    }
}
