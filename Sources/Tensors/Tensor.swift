/// An array of float32 numbers in row-major order, contiguous and 64-byte aligned, that remembers how to pass
/// gradients back to what it was computed from.
///
/// Tensors come from `Tape.input` and from operations on other tensors; all of one computation belong to one tape and
/// are confined to its thread. Nobody sees the values of one change once they are computed.
public final class Tensor {
    public let shape: [Int]
    public let tape: Tape
    /// Never another; variable, as only then one can see whether it is shared.
    private(set) var storage: Storage
    /// Nil when nothing that training changes led here, or nothing is recorded.
    let slot: GradientSlot?

    init(shape: [Int], tape: Tape, storage: Storage, slot: GradientSlot?) {
        self.shape = shape
        self.tape = tape
        self.storage = storage
        self.slot = slot
    }

    /// The number of elements.
    public var count: Int { shape.reduce(1, *) }

    /// The elements, valid as long as the tensor.
    public var values: UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: storage.floats, count: count) }

    /// A copy of the elements.
    public var array: [Float] { Array(values) }

    /// The only element of a tensor that has one.
    public var item: Float {
        precondition(count == 1, "a tensor of shape \(shape) is not one number")
        return storage.floats[0]
    }

    /// The same elements under another shape of the same count. Nothing is copied; gradients are shared too.
    public func reshaped(_ shape: [Int]) -> Tensor {
        precondition(shape.reduce(1, *) == count, "\(count) elements of shape \(self.shape) cannot take shape \(shape)")
        return Tensor(shape: shape, tape: tape, storage: storage, slot: slot)
    }

    /// The size of the last dimension.
    var columns: Int {
        guard let last = shape.last else { preconditionFailure("a scalar has no columns") }
        return last
    }

    /// The product of all dimensions but the last.
    var rows: Int { shape.dropLast().reduce(1, *) }

    var floats: UnsafeMutablePointer<Float> { storage.floats }

    /// Whether nobody else refers to the tensor or its memory, neither another tensor nor a backward step: who owns it
    /// may write over its values.
    static func isLastReference(_ tensor: inout Tensor) -> Bool {
        isKnownUniquelyReferenced(&tensor) && isKnownUniquelyReferenced(&tensor.storage)
    }
}
