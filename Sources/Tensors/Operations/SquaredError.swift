import CTensorKernels

/// Mean squared error: the sum over samples of the mean over a sample's elements of (prediction - target)^2, and the
/// number of samples. Both are (B, ...); the batch's mean is then PyTorch's `mse_loss`.
public func meanSquaredError(_ predictions: Tensor, _ targets: Tensor) -> Loss {
    let (tape, count) = (predictions.tape, predictions.count)
    precondition(predictions.shape == targets.shape, "\(predictions.shape) and \(targets.shape) differ")
    precondition(!predictions.shape.isEmpty, "predictions need a dimension of samples")
    let samples = predictions.shape[0]
    let factor = samples == 0 ? 0 : Float(samples) / Float(count)
    let y = tape.result([], of: [predictions, targets])
    y.floats[0] = Float(tensor_squared_error(predictions.floats, targets.floats, count) * Double(factor))

    let (a, b, aSlot, bSlot) = (predictions.storage, targets.storage, predictions.slot, targets.slot)
    tape.record(y) { [unowned tape] dy in
        let difference = tape.allocate(count)
        tensor_subtract(difference.floats, a.floats, b.floats, count)
        let scale = 2 * factor * dy.floats[0]
        for (slot, sign) in [(aSlot, Float(1)), (bSlot, -1)] {
            guard let d = slot?.destination(on: tape) else { continue }
            tensor_scale(d.values, difference.floats, sign * scale, count, d.accumulate)
        }
    }
    return Loss(sum: y, weight: Double(samples))
}
