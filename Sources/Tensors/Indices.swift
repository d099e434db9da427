/// Whole numbers as operations take them: tokens, labels. Row-major and contiguous like a tensor's elements, without
/// gradients.
public final class Indices {
    public let shape: [Int]
    public let tape: Tape
    let storage: Storage

    init(shape: [Int], tape: Tape, storage: Storage) {
        self.shape = shape
        self.tape = tape
        self.storage = storage
    }

    public var count: Int { shape.reduce(1, *) }

    /// The elements, valid as long as this object.
    public var values: UnsafeBufferPointer<Int32> { UnsafeBufferPointer(start: storage.integers, count: count) }

    /// The same elements under another shape of the same count.
    public func reshaped(_ shape: [Int]) -> Indices {
        precondition(shape.reduce(1, *) == count, "\(count) elements of shape \(self.shape) cannot take shape \(shape)")
        return Indices(shape: shape, tape: tape, storage: storage)
    }

    var integers: UnsafeMutablePointer<Int32> { storage.integers }
}
