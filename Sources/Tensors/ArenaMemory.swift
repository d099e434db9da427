import Glibc
import Processes

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
        let byteCount = max(count, 1) * MemoryLayout<Float>.stride
        let block = allocateMemory(byteCount: byteCount, alignment: CachingAllocator.alignment, for: "parameters")
        memset(block, 0, byteCount)
        return block.bindMemory(to: Float.self, capacity: count)
    }
}
