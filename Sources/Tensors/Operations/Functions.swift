import CTensorKernels

extension Tensor {
    /// max(x, 0)
    public func relu() -> Tensor {
        let (tape, count) = (tape, count)
        let y = tape.result(shape, of: [self])
        tensor_activate(TENSOR_RELU, y.floats, nil, floats, nil, 1, count)
        // Its slope can be told from its value: nothing else is kept.
        let (slot, output) = (slot, y.storage)
        tape.record(y) { [unowned tape] dy in
            guard let dx = slot?.destination(on: tape) else { return }
            tensor_relu_backward(dx.values, dy.floats, output.floats, count, dx.accumulate)
        }
        return y
    }
    /// The activation by itself; `linear` has it in the same pass over memory.
    public func applying(_ activation: Activation) -> Tensor {
        activation == .relu ? relu() : activation.function.map(applying) ?? self
    }
    /// e^x; infinity above 88.72 and is 0 below -87.3.
    public func exponential() -> Tensor { applying(TENSOR_EXP) }
    /// The natural logarithm.
    public func logarithm() -> Tensor { applying(TENSOR_LOG) }
    public func hyperbolicTangent() -> Tensor { applying(TENSOR_TANH) }
    /// 1 / (1 + e^-x)
    public func sigmoid() -> Tensor { applying(TENSOR_SIGMOID) }

    /// y = f(x), keeping f'(x) for the backward pass.
    private func applying(_ function: tensor_function) -> Tensor {
        let (tape, count) = (tape, count)
        let y = tape.result(shape, of: [self])
        let slope = y.slot == nil ? nil : tape.allocate(count)
        tensor_activate(function, y.floats, slope?.floats, floats, nil, 1, count)
        let slot = slot
        if let slope {
            tape.record(y) { [unowned tape] dy in
                guard let dx = slot?.destination(on: tape) else { return }
                tensor_multiply(dx.values, dy.floats, slope.floats, count, dx.accumulate)
            }
        }
        return y
    }
}
