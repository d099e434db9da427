import Tensors

/// The normalised temperature-scaled cross-entropy of pairs (NT-Xent): each representation should be nearer to its partner than to
/// any other of the batch.
///
/// With z the 2 N rows of `pairs` at length 1, and j the partner of i:
///
///     sum over i of  -log( e^(z_i z_j / t) / sum over k other than i of e^(z_i z_k / t) )
///
/// and weight 2 N. `pairs` is (N, 2, D). The loss couples all samples of a batch, so the sum of the losses of its micro-batches is
/// another loss: give it to `Trainer.init(model:data:optimizer:recipe:ring:representation:globalLoss:)`, which computes it over
/// the global batch.
///
/// Source: T. Chen et al., "A simple framework for contrastive learning of visual representations", arXiv:2002.05709.
public func contrastiveLoss(_ pairs: Tensor, temperature: Float = 0.5) -> Loss {
    precondition(pairs.shape.count == 3 && pairs.shape[1] == 2, "pairs are (N, 2, D), not \(pairs.shape)")
    precondition(temperature > 0, "a temperature of \(temperature)")
    let (tape, count) = (pairs.tape, 2 * pairs.shape[0])
    let rows = pairs.reshaped([count, pairs.shape[2]]).unitRows()
    // What nobody is compared with: itself.
    var mask = [Float](repeating: 0, count: count * count)
    for row in 0..<count { mask[row * count + row] = -1e9 }
    let similarities = rows.matrixProduct(rows, transposeOther: true) * (1 / temperature) + tape.input(mask, [count, count])
    return softmaxCrossEntropy(similarities, tape.indices((0..<Int32(count)).map { $0 ^ 1 }, [count]))
}
