import CTensorKernels

/// Softmax cross-entropy: the sum over rows of log(sum_c e^logits[r, c]) - logits[r, labels[r]], and the number of
/// rows that count.
///
/// `logits` is (..., V), `labels` has one whole number in 0 ..< V a row, or -1 for a row that does not count. A label
/// outside that range is a programming error: data is checked where it is read.
///
/// The gradient of logits that the caller has no other use for takes their place, so that those of a large vocabulary
/// are in memory once.
public func softmaxCrossEntropy(_ logits: consuming Tensor, _ labels: Indices) -> Loss {
    let (tape, rows, classes, slot) = (logits.tape, logits.rows, logits.columns, logits.slot)
    precondition(labels.tape === tape, "logits and labels belong to different tapes")
    precondition(labels.count == rows, "\(labels.count) labels for \(rows) rows of logits")
    let y = tape.result([], of: [copy logits])
    let isFree = Tensor.isLastReference(&logits)
    let values = logits.storage
    // The gradient falls out of the forward pass, while the row is in cache.
    let gradient = y.slot == nil ? nil : isFree ? values : tape.allocate(rows * classes)
    var counted = 0
    var badRow = 0
    // SAFETY: both memories have rows * classes floats, and the kernel allows them to be the same.
    let sum = withExtendedLifetime(values) {
        tensor_cross_entropy(gradient?.floats, &counted, &badRow, values.floats, labels.integers, rows, classes)
    }
    precondition(badRow < 0, "label \(labels.values[max(badRow, 0)]) of row \(badRow) is outside 0 ..< \(classes)")
    y.floats[0] = Float(sum)

    if let gradient {
        let count = rows * classes
        tape.record(y) { [unowned tape] dy in
            let factor = dy.floats[0]
            if factor != 1 { tensor_scale(gradient.floats, gradient.floats, factor, count, false) }
            slot?.add(gradient, on: tape)
        }
    }
    return Loss(sum: y, weight: Double(counted))
}
