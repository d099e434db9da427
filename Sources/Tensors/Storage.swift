/// A block of memory shared by the tensors and gradients that refer to it, and given back to its allocator with the
/// last of them. Its contents are undefined until written.
final class Storage {
    let bytes: UnsafeMutableRawPointer
    /// Bytes that there are, as many as were asked for or a few more.
    let classSize: Int
    private let allocator: CachingAllocator

    init(byteCount: Int, allocator: CachingAllocator) {
        classSize = CachingAllocator.classSize(byteCount)
        bytes = allocator.allocate(classSize: classSize)
        self.allocator = allocator
    }

    deinit { allocator.recycle(bytes, classSize: classSize) }

    // SAFETY: a storage is bound to one element type, Float or Int32, by whoever allocates it, and never rebound
    // while in use; both are trivial types of the same size.
    var floats: UnsafeMutablePointer<Float> { bytes.assumingMemoryBound(to: Float.self) }
    var integers: UnsafeMutablePointer<Int32> { bytes.assumingMemoryBound(to: Int32.self) }
}
