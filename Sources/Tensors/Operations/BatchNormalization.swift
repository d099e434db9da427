import CTensorKernels

extension Tensor {
    /// y = (x - mean) / sqrt(variance + epsilon) * gain + bias for each channel, then max(y, 0) if `relu`. The receiver is
    /// (..., C); `gain`, `bias` and both statistics are (C).
    ///
    /// While training, mean and variance are those of **this micro-batch**, over all its elements of a channel: statistics over
    /// the global batch would need a second pass, and those over a worker's share would depend on the number of workers. The
    /// size of the micro-batch is thereby part of what is learned, as in "ghost batch normalisation".
    ///
    /// Otherwise they are `averageMean` and `averageVariance`, statistics (`Parameter.isStatistic`) that follow the
    /// micro-batches': this pass leaves its own mean and unbiased variance where a gradient would be, so that they are summed
    /// exactly over all micro-batches of the step, and the trainer moves the averages once a step. A tensor normalised with the
    /// same statistics several times in a pass counts once, its first time.
    ///
    /// Sources: S. Ioffe, C. Szegedy, arXiv:1502.03167; E. Hoffer et al., arXiv:1705.08741, for small batches.
    public func batchNormalized(
        gain: Parameter, bias: Parameter, averageMean: Parameter, averageVariance: Parameter, epsilon: Float = 1e-5,
        relu: Bool = false
    ) -> Tensor {
        let (tape, rows, columns, count) = (tape, rows, columns, count)
        for parameter in [gain, bias, averageMean, averageVariance] {
            precondition(parameter.shape == [columns], "\(parameter.name) of shape \(parameter.shape) does not fit \(shape)")
        }
        precondition(averageMean.isStatistic && averageVariance.isStatistic, "the averages must be statistics")
        let parameters = [gain, bias, averageMean, averageVariance]
        let y = tape.result(shape, of: [self], parameters: parameters)
        // Mean, variance, inverse deviation.
        let statistics = tape.allocate(3 * columns)
        let (mean, variance, inverse) = (
            statistics.floats, statistics.floats + columns, statistics.floats + 2 * columns
        )
        if tape.pass.isTraining {
            let scratch = tape.allocate(columns)
            tensor_batch_statistics(mean, variance, floats, rows, columns, scratch.floats)
        } else {
            mean.update(from: averageMean.values, count: columns)
            variance.update(from: averageVariance.values, count: columns)
        }
        tensor_batch_norm(y.floats, inverse, floats, mean, variance, gain.values, bias.values, rows, columns, epsilon, relu)

        let (input, inputSlot, output) = (storage, slot, y.storage)
        tape.record(y, parameters: parameters) { [unowned tape] dy in
            if relu {
                let target = tape.writable(&dy, count: count)
                tensor_relu_backward(target.floats, dy.floats, output.floats, count, false)
                dy = target
            }
            let scratch = tape.allocate(columns)
            let dx = inputSlot?.destination(on: tape)
            tape.withGradients(of: gain, bias) { dgain, dbias in
                tensor_batch_norm_backward(
                    dx?.values, dx?.accumulate ?? false, dgain, dbias!, dy.floats, input.floats, statistics.floats,
                    statistics.floats + 2 * columns, gain.values, rows, columns, scratch.floats)
            }
            let unbiased = rows > 1 ? Float(rows) / Float(rows - 1) : 1
            tape.setStatistic(averageMean, to: statistics.floats, scaledBy: 1)
            tape.setStatistic(averageVariance, to: statistics.floats + columns, scaledBy: unbiased)
        }
        return y
    }
}

extension Tape {
    /// Leaves a statistic of this pass where the parameter's gradient would be, times the pass's weight: sums over passes divided
    /// by summed weights are then means.
    func setStatistic(_ parameter: Parameter, to values: UnsafeMutablePointer<Float>, scaledBy factor: Float) {
        let destination = gradientDestination(of: parameter).values
        tensor_scale(destination, values, factor * statisticsWeight, parameter.count, false)
    }
}
