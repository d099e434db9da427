import Glibc
import Processes

/// Memory for tensors: blocks that are given back are kept by size and handed out again, so that a training step
/// that repeats the shapes of the one before allocates nothing.
///
/// Every block starts at a multiple of 64 bytes. Sizes are rounded up to one of eight classes an octave, so that
/// shapes that are close share blocks; at most an eighth of a block is unused, and pages never touched cost nothing.
/// Confined to the thread of its tape. Blocks are freed when the allocator goes, which storages keep alive.
final class CachingAllocator {
    static let alignment = 64

    /// Free blocks by the size of their class.
    private var free: [Int: [UnsafeMutableRawPointer]] = [:]

    /// Bytes obtained from the system so far, in use or cached.
    private(set) var reservedBytes = 0

    /// How many times the system was asked for memory: constant once every shape has been seen.
    private(set) var systemAllocations = 0

    init() {}

    deinit {
        for blocks in free.values {
            for block in blocks { Glibc.free(block) }
        }
    }

    /// The bytes of the smallest class that holds `byteCount`.
    static func classSize(_ byteCount: Int) -> Int {
        let bytes = max(byteCount, alignment)
        let octave = Int.bitWidth - 1 - bytes.leadingZeroBitCount
        let step = max(alignment, 1 << (octave - 3))
        return (bytes + step - 1) / step * step
    }

    func allocate(classSize: Int) -> UnsafeMutableRawPointer {
        if let block = free[classSize]?.popLast() { return block }
        let block = allocateMemory(byteCount: classSize, alignment: Self.alignment, for: "a tensor")
        reservedBytes += classSize
        systemAllocations += 1
        return block
    }

    func recycle(_ block: UnsafeMutableRawPointer, classSize: Int) {
        free[classSize, default: []].append(block)
    }
}
