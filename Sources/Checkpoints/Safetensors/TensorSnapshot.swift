import Processes

/// A copy of tensors at one moment, so that a checkpoint can be written on another thread while training goes on.
///
/// Making it costs one copy of the memory; nothing changes it afterwards, and it is freed with the last reference.
public final class TensorSnapshot: @unchecked Sendable {
    // SAFETY: the memory is written in `init` only, before anybody else can have the reference, and freed in `deinit`,
    // when nobody has it any more. In between, all threads only read it.
    private let memory: UnsafeMutableRawBufferPointer
    private let places: [(info: TensorInfo, offset: Int)]

    private static let alignment = 64

    /// Copies the tensors.
    public init(copying tensors: [StoredTensor]) {
        var places: [(info: TensorInfo, offset: Int)] = []
        var end = 0
        for tensor in tensors {
            places.append((tensor.info, end))
            end += (tensor.bytes.count + TensorSnapshot.alignment - 1) / TensorSnapshot.alignment * TensorSnapshot.alignment
        }
        memory = UnsafeMutableRawBufferPointer(
            start: allocateMemory(byteCount: end, alignment: TensorSnapshot.alignment, for: "the copy that a checkpoint is written from"),
            count: end)
        self.places = places
        for (tensor, place) in zip(tensors, places) {
            // SAFETY: each place has room for its tensor, and no two overlap.
            UnsafeMutableRawBufferPointer(rebasing: memory[place.offset..<place.offset + tensor.bytes.count])
                .copyMemory(from: tensor.bytes)
        }
    }

    deinit {
        memory.deallocate()
    }

    /// Calls `body` with views of the copies, in the order of the originals, which are valid until `body` returns.
    public func withTensors<Value, Failure: Error>(
        _ body: ([StoredTensor]) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        let tensors = places.map { place in
            StoredTensor(
                info: place.info,
                bytes: UnsafeRawBufferPointer(rebasing: memory[place.offset..<place.offset + place.info.byteCount]))
        }
        // SAFETY: the views point into memory that lives as long as `self`, which this keeps alive over the call.
        defer { withExtendedLifetime(self) {} }
        return try body(tensors)
    }
}
