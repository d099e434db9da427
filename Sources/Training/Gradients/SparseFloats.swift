import Glibc
import Processes

/// Floats of which many are never written: zeros that take memory page by page, when they are. Owns the memory.
final class SparseFloats {
    let start: UnsafeMutablePointer<Float>
    private let byteCount: Int

    init(count: Int) {
        let page = sysconf(Int32(_SC_PAGESIZE))
        byteCount = (max(count, 1) * MemoryLayout<Float>.stride + page - 1) / page * page
        let memory = allocateMemory(byteCount: byteCount, alignment: page, for: "sums")
        // A large page would be taken for the first of its floats.
        madvise(memory, byteCount, MADV_NOHUGEPAGE)
        // SAFETY: freed in deinit; whole pages, which `clear` makes zeros.
        start = memory.bindMemory(to: Float.self, capacity: max(count, 1))
        clear()
    }

    deinit {
        free(start)
    }

    /// Gives all pages back: zeros again.
    func clear() {
        madvise(start, byteCount, MADV_DONTNEED)
    }
}
