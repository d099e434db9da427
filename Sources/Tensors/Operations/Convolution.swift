import CTensorKernels

extension Tensor {
    /// y[n, i, j, o] = b[o] + sum over u, v, c of x[n, i s + u - p, j s + v - p, c] W[o, c, u, v], x being 0 outside the image.
    ///
    /// Images are (N, H, W, C), channels last: neighbouring channels are neighbours in memory, which is what convolutions are
    /// fastest with, and no layout but the weights' has to be changed on the way. `weight` W is (O, C, K, K) and `bias` b (O), as
    /// PyTorch stores them; the result is (N, H', W', O), H' = (H + 2 p - K) / s + 1 rounded down. Relu runs on the result while
    /// it is near; other activations are an operation of their own.
    ///
    /// Each sum is one chain over its elements in a fixed order, cut like a matrix product's (`tensor_convolution_forward`).
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

        let geometry = tensor_convolution_shape(
            samples: shape[0], height: shape[1], width: shape[2], inputs: shape[3], outputs: outputs, kernel: kernel, stride: stride,
            padding: padding)
        tape.withScratch(for: geometry) { geometry, scratch, scratchCount in
            tensor_convolution_forward(geometry, y.floats, floats, weight.values, bias?.values, relu, scratch, scratchCount)
        }

        let (input, inputSlot, output, count, rows) = (storage, slot, y.storage, y.count, y.rows)
        tape.record(y, parameters: parameters) { [unowned tape] dy in
            if relu {
                let target = tape.writable(&dy, count: count)
                tensor_relu_backward(target.floats, dy.floats, output.floats, count, false)
                dy = target
            }
            if let bias {
                let db = tape.gradientDestination(of: bias)
                tensor_sum_rows(db.values, dy.floats, rows, outputs, db.accumulate)
            }
            tape.withGradients(of: weight, nil) { dw, _ in
                tape.withScratch(for: geometry) { geometry, scratch, scratchCount in
                    tensor_convolution_backward_weights(geometry, dw, dy.floats, input.floats, scratch, scratchCount)
                }
            }
            guard let inputSlot else { return }
            let dx = tape.allocate(inputSlot.count)
            tape.withScratch(for: geometry) { geometry, scratch, scratchCount in
                tensor_convolution_backward_data(geometry, dx.floats, dy.floats, weight.values, scratch, scratchCount)
            }
            inputSlot.add(dx, on: tape)
        }
        return y
    }
}

extension Tape {
    /// Calls `body` with the scratch memory that a convolution needs.
    fileprivate func withScratch(
        for shape: tensor_convolution_shape,
        _ body: (UnsafePointer<tensor_convolution_shape>, UnsafeMutablePointer<Float>, Int) -> Void
    ) {
        withUnsafePointer(to: shape) { shape in
            let count = tensor_convolution_scratch(shape)
            let scratch = allocate(count)
            body(shape, scratch.floats, count)
        }
    }

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
