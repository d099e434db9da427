import Glibc

/// The two blocks of floats behind a `ParameterArena`, zeroed, 64-byte aligned, freed with the last parameter.
final class ArenaMemory {
    let values: UnsafeMutablePointer<Float>
    let gradients: UnsafeMutablePointer<Float>

    init(count: Int) {
        values = Self.zeroed(count)
        gradients = Self.zeroed(count)
    }

    deinit {
        free(values)
        free(gradients)
    }

    private static func zeroed(_ count: Int) -> UnsafeMutablePointer<Float> {
        var block: UnsafeMutableRawPointer?
        let byteCount = max(count, 1) * MemoryLayout<Float>.stride
        guard posix_memalign(&block, CachingAllocator.alignment, byteCount) == 0, let block else {
            fatalError("out of memory: cannot allocate \(byteCount) bytes for parameters")
        }
        memset(block, 0, byteCount)
        return block.bindMemory(to: Float.self, capacity: count)
    }
}
