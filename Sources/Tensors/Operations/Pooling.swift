import CTensorKernels

extension Tensor {
    /// The largest of each `kernel` x `kernel` window, one window every `stride` elements (`kernel` unless given): images
    /// (N, H, W, C) to (N, H', W', C), H' = (H - kernel) / stride + 1 rounded down. Windows that do not fit are left out. The
    /// gradient goes to the first of the largest, row by row.
    public func maxPooled(_ kernel: Int, stride: Int? = nil) -> Tensor {
        precondition(kernel >= 1 && kernel <= 16, "a window of \(kernel) x \(kernel) elements; 1 to 16 are possible")
        let (tape, pooling) = (tape, pooling(height: kernel, width: kernel, stride: stride ?? kernel))
        let y = tape.result(pooling.result, of: [self])
        // One byte an element.
        let places = tape.allocate((y.count + 3) / 4)
        // SAFETY: the storage has room for `y.count` bytes and is used as bytes only, here and below.
        let bytes = { UnsafeMutableRawPointer(places.floats).assumingMemoryBound(to: UInt8.self) }
        var shape = pooling.shape
        tensor_max_pool(y.floats, bytes(), floats, &shape)
        let slot = slot
        tape.record(y) { [unowned tape] dy in
            guard let dx = slot?.destination(on: tape) else { return }
            var shape = pooling.shape
            tensor_max_pool_backward(dx.values, dx.accumulate, dy.floats, bytes(), &shape)
        }
        return y
    }

    /// The mean of each window, as `maxPooled` has them.
    public func averagePooled(_ kernel: Int, stride: Int? = nil) -> Tensor {
        precondition(kernel >= 1, "a window of \(kernel) x \(kernel) elements")
        return averaged(pooling(height: kernel, width: kernel, stride: stride ?? kernel))
    }

    /// The mean of each channel over all positions: (N, H, W, C) to (N, C).
    public func averagedOverPositions() -> Tensor {
        precondition(shape.count == 4, "pooling takes images (N, H, W, C), not \(shape)")
        return averaged(pooling(height: shape[1], width: shape[2], stride: max(shape[1], shape[2])))
            .reshaped([shape[0], shape[3]])
    }

    private func averaged(_ pooling: (shape: tensor_pooling, result: [Int])) -> Tensor {
        let tape = tape
        let y = tape.result(pooling.result, of: [self])
        var shape = pooling.shape
        tensor_average_pool(y.floats, floats, &shape)
        let slot = slot
        tape.record(y) { [unowned tape] dy in
            guard let dx = slot?.destination(on: tape) else { return }
            var shape = pooling.shape
            tensor_average_pool_backward(dx.values, dx.accumulate, dy.floats, &shape)
        }
        return y
    }

    private func pooling(height: Int, width: Int, stride: Int) -> (shape: tensor_pooling, result: [Int]) {
        precondition(shape.count == 4, "pooling takes images (N, H, W, C), not \(shape)")
        precondition(stride >= 1, "a stride of \(stride)")
        precondition(height <= shape[1] && width <= shape[2], "a window of \(height) x \(width) does not fit \(shape)")
        let pooling = tensor_pooling(
            samples: shape[0], height: shape[1], width: shape[2], channels: shape[3], kernel_height: height,
            kernel_width: width, stride: stride)
        return (pooling, [shape[0], (shape[1] - height) / stride + 1, (shape[2] - width) / stride + 1, shape[3]])
    }

    /// Images with their channels one after the other, (N, C * H * W) or any shape of that order, as (N, H, W, C): what
    /// convolutions take. Nothing is copied where there is one channel.
    public func channelsLast(channels: Int, height: Int, width: Int) -> Tensor {
        let positions = height * width
        precondition(channels >= 1 && positions >= 1, "images of \(channels) x \(height) x \(width)")
        precondition(count % (channels * positions) == 0, "\(shape) are not images of \(channels) x \(height) x \(width)")
        let samples = count / (channels * positions)
        let result = [samples, height, width, channels]
        if channels == 1 { return reshaped(result) }
        let tape = tape
        let y = tape.result(result, of: [self])
        tensor_transpose(y.floats, false, floats, samples, channels, positions)
        let slot = slot
        tape.record(y) { [unowned tape] dy in
            guard let dx = slot?.destination(on: tape) else { return }
            tensor_transpose(dx.values, dx.accumulate, dy.floats, samples, positions, channels)
        }
        return y
    }
}
