import CTensorKernels

extension Tensor {
    /// y[n, i, j, o] = b[o] + sum over u, v, c of x[n, i s + u - p, j s + v - p, c] W[o, c, u, v], x being 0 outside the image.
    ///
    /// Images are (N, H, W, C), channels last: neighbouring channels are neighbours in memory, which is what convolutions are
    /// fastest with, and no layout but the weights' has to be changed on the way. `weight` W is (O, C, K, K) and `bias` b (O), as
    /// PyTorch stores them; the result is (N, H', W', O), H' = (H + 2 p - K) / s + 1 rounded down. Relu runs on the result while
    /// it is near; other activations are an operation of their own.
    ///
    /// By oneDNN's direct convolution: the same bits for the same shape, CPU kind and number of threads.
    public func convolved(
        _ weight: Parameter, bias: Parameter? = nil, stride: Int = 1, padding: Int = 0, relu: Bool = false
    ) -> Tensor {
        precondition(shape.count == 4, "a convolution takes images (N, H, W, C), not \(shape)")
        precondition(
            weight.shape.count == 4 && weight.shape[1] == shape[3] && weight.shape[2] == weight.shape[3],
            "a weight of shape \(weight.shape) does not fit images \(shape)")
        precondition(bias.map { $0.shape == [weight.shape[0]] } ?? true, "the bias does not fit \(weight.shape)")
        precondition(stride >= 1 && padding >= 0, "a stride of \(stride) and a padding of \(padding)")
        let (tape, outputs, kernel) = (tape, weight.shape[0], weight.shape[2])
        let (height, width) = (
            tensor_convolution_output(shape[1], kernel, stride, padding),
            tensor_convolution_output(shape[2], kernel, stride, padding)
        )
        precondition(height >= 1 && width >= 1, "a kernel of \(kernel) does not fit images \(shape) with padding \(padding)")
        let parameters = [weight] + (bias.map { [$0] } ?? [])
        let y = tape.result([shape[0], height, width, outputs], of: [self], parameters: parameters)
        guard y.count > 0, count > 0 else { return y }

        let plan = tape.convolution(
            ConvolutionPlan.Shape(
                samples: shape[0], height: shape[1], width: shape[2], inputs: shape[3], outputs: outputs, kernel: kernel,
                stride: stride, padding: padding, hasBias: bias != nil, isTraining: tape.pass.isTraining))
        do {
            let scratch = tape.allocate(plan.scratchCount)
            guard tensor_convolution_forward(plan.plan, y.floats, floats, weight.values, bias?.values, scratch.floats) else {
                fatalError("oneDNN failed at a convolution of \(shape) with \(weight.shape): out of memory?")
            }
        }
        // Not oneDNN's own relu, which turns NaN into 0.
        if relu { tensor_activate(TENSOR_RELU, y.floats, nil, y.floats, nil, 1, y.count) }

        let (input, inputSlot, output, count) = (storage, slot, y.storage, y.count)
        tape.record(y, parameters: parameters) { [unowned tape] dy in
            if relu {
                let target = tape.writable(&dy, count: count)
                tensor_relu_backward(target.floats, dy.floats, output.floats, count, false)
                dy = target
            }
            let scratch = tape.allocate(plan.scratchCount)
            tape.withGradients(of: weight, bias) { dw, db in
                guard tensor_convolution_backward_weights(plan.plan, dw, db, dy.floats, input.floats, scratch.floats) else {
                    fatalError("oneDNN failed at the gradient of a convolution's weights: out of memory?")
                }
            }
            guard let inputSlot else { return }
            let dx = tape.allocate(inputSlot.count)
            guard tensor_convolution_backward_data(plan.plan, dx.floats, dy.floats, weight.values, scratch.floats) else {
                fatalError("oneDNN failed at the gradient of a convolution's input: out of memory?")
            }
            inputSlot.add(dx, on: tape)
        }
        return y
    }
}

extension Tape {
    /// Lets `body` overwrite the gradients of a parameter and perhaps of a second one, and adds the result to what was there.
    func withGradients(
        of first: Parameter, _ second: Parameter?,
        _ body: (UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>?) -> Void
    ) {
        func target(_ parameter: Parameter) -> (gradient: UnsafeMutablePointer<Float>, fresh: Storage?) {
            let (gradient, accumulate) = gradientDestination(of: parameter)
            return (gradient, accumulate ? allocate(parameter.count) : nil)
        }
        let targets = [first, second].map { $0.map(target) }
        let places = targets.map { $0.map { $0.fresh?.floats ?? $0.gradient } }
        body(places[0]!, places[1])
        for (parameter, target) in zip([first, second], targets) {
            guard let parameter, let target, let fresh = target.fresh else { continue }
            tensor_add(target.gradient, target.gradient, fresh.floats, parameter.count)
        }
    }
}
