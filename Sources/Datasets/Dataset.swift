/// A finite set of samples that a training run passes over once per epoch.
///
/// Every worker opens the same data set and asks it for different samples of it, so a batch has to be a pure function
/// of the epoch and the sample indices: the same call gives the same bytes on every worker, at any time, in any order.
/// Augmentation is welcome as long as its random numbers are keyed by (seed, epoch, sample) and by nothing else.
///
/// `batch` is called on the thread that computes, one call for each micro-batch.
public protocol Dataset: Sendable {
    /// What one call of `batch` gives: plain arrays, which the model's forward pass turns into tensors.
    associatedtype Batch: Sendable

    /// The number of samples in one epoch. It is the same in every epoch.
    var count: Int { get }

    /// What one sample counts for in `items_per_second`: 1 for an image, the number of tokens for a window of text.
    var itemsPerSample: Int { get }

    /// The given samples, in the given order.
    ///
    /// - Parameters:
    ///   - epoch: the pass over the data, from 0.
    ///   - samples: indices in `0 ..< count`, as `SampleOrder` deals them out.
    func batch(epoch: Int, _ samples: [Int]) throws -> Batch
}
