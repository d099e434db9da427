import CTensorKernels

/// What may follow a linear map in the same pass over memory.
public enum Activation: Sendable, Hashable {
    case none
    case relu
    /// x Phi(x), with the normal distribution's Phi. Source: D. Hendrycks, K. Gimpel, arXiv:1606.08415.
    case geluExact
    /// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), as in GPT-2.
    case geluTanh

    var function: tensor_function? {
        switch self {
        case .none: nil
        case .relu: TENSOR_RELU
        case .geluExact: TENSOR_GELU_EXACT
        case .geluTanh: TENSOR_GELU_TANH
        }
    }
}

extension Tensor {
    /// y = activation(x W^T + b): x (..., I), `weight` W (O, I) as PyTorch stores it, `bias` b (O), y (..., O).
    public func linear(_ weight: Parameter, bias: Parameter? = nil, activation: Activation = .none) -> Tensor {
        precondition(
            weight.shape.count == 2 && weight.shape[1] == columns,
            "a weight of shape \(weight.shape) does not fit an input of shape \(shape)")
        precondition(bias.map { $0.shape == [weight.shape[0]] } ?? true, "the bias does not fit \(weight.shape)")
        let (tape, rows, inputs, outputs) = (tape, rows, weight.shape[1], weight.shape[0])
        let parameters = [weight] + (bias.map { [$0] } ?? [])
        let y = tape.result(shape.dropLast() + [outputs], of: [self], parameters: parameters)
        tape.multiply(floats, weight.values, into: y.floats, rows, outputs, inputs, transposeB: true)
        let backwardActivation = applyActivation(activation, to: y, bias: bias, rows: rows)

        let (input, inputSlot) = (storage, slot)
        tape.record(y, parameters: parameters) { [unowned tape] dy in
            backwardActivation(&dy)
            let dw = tape.gradientDestination(of: weight)
            tape.multiply(
                dy.floats, input.floats, into: dw.values, outputs, inputs, rows, transposeA: true,
                accumulate: dw.accumulate)
            if let bias {
                let db = tape.gradientDestination(of: bias)
                tensor_sum_rows(db.values, dy.floats, rows, outputs, db.accumulate)
            }
            if let inputSlot {
                let dx = inputSlot.destination(on: tape)
                tape.multiply(dy.floats, weight.values, into: dx.values, rows, inputs, outputs, accumulate: dx.accumulate)
            }
        }
        return y
    }

    /// Adds the bias to y and applies the activation, in place. Returns what turns y's gradient into that of the
    /// linear map.
    private func applyActivation(
        _ activation: Activation, to y: Tensor, bias: Parameter?, rows: Int
    ) -> (inout Storage) -> Void {
        let (tape, columns, count) = (y.tape, y.columns, y.count)
        guard let function = activation.function else {
            if let bias { tensor_add_row(y.floats, y.floats, bias.values, rows, columns) }
            return { _ in }
        }
        // Gelu's slope cannot be told from its value: it is kept instead of the input. Relu's can.
        let keepsSlope = y.slot != nil && activation != .relu
        let slope = keepsSlope ? tape.allocate(count) : nil
        tensor_activate(function, y.floats, slope?.floats, y.floats, bias?.values, rows, columns)
        let output = y.storage
        return { [unowned tape] dy in
            let target = tape.writable(&dy, count: count)
            if let slope {
                tensor_multiply(target.floats, dy.floats, slope.floats, count, false)
            } else {
                tensor_relu_backward(target.floats, dy.floats, output.floats, count, false)
            }
            dy = target
        }
    }
}

extension Tape {
    /// The gradient's own memory when nobody else refers to it, or else fresh memory, contents undefined.
    func writable(_ gradient: inout Storage, count: Int) -> Storage {
        isKnownUniquelyReferenced(&gradient) ? gradient : allocate(count)
    }
}
