/// What a model is trained to make small, as a sum and the weight it is divided by.
///
/// A batch's loss is sum / weight over all its micro-batches. The division happens once, after sums and weights of
/// all micro-batches have been added up: a mean of means would weigh items of small micro-batches more.
/// `Tape.backward` therefore gives gradients of the sum.
public struct Loss {
    /// One number: the sum of the items' losses.
    public let sum: Tensor
    /// How many items the sum is over: samples, or tokens that count.
    public let weight: Double

    public init(sum: Tensor, weight: Double) {
        precondition(sum.count == 1, "a loss is one number, not a tensor of shape \(sum.shape)")
        self.sum = sum
        self.weight = weight
    }

    /// For losses that come as a mean over `weight` items.
    public init(mean: Tensor, weight: Double) {
        self.init(sum: mean * Float(weight), weight: weight)
    }

    /// The mean over the items of this pass; NaN when there are none.
    public var mean: Double { Double(sum.item) / weight }
}
