import Glibc
import Processes

/// The blocks of floats behind a `ParameterArena`, zeroed, 64-byte aligned, freed with the last parameter.
final class ArenaMemory {
    let values: UnsafeMutablePointer<Float>
    /// There from the first look at them on: who takes gradients when they are ready needs no memory for all of them.
    private(set) lazy var gradients = takeGradients()
    private var hasGradients = false
    private let count: Int

    init(count: Int) {
        self.count = count
        values = Self.zeroed(count)
    }

    deinit {
        free(values)
        if hasGradients { free(gradients) }
    }

    private func takeGradients() -> UnsafeMutablePointer<Float> {
        hasGradients = true
        return Self.zeroed(count)
    }

    private static func zeroed(_ count: Int) -> UnsafeMutablePointer<Float> {
        let byteCount = max(count, 1) * MemoryLayout<Float>.stride
        let block = allocateMemory(byteCount: byteCount, alignment: CachingAllocator.alignment, for: "parameters")
        memset(block, 0, byteCount)
        return block.bindMemory(to: Float.self, capacity: count)
    }
}
