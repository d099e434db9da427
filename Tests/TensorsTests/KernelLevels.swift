import CInstructionSets
import CTensorKernels
import Synchronization

/// The instruction sets and threads that kernels may use, all of which give the same bits. One test at a time changes them; others, which
/// do not ask, run with whatever is set.
enum KernelLevels {
    private static let changing = Mutex(())

    /// Calls the body once for each instruction set that this CPU has, the best last, and then leaves the best in use.
    static func forEach(_ body: (_ name: String) throws -> Void) rethrows {
        try changing.withLock { _ in
            defer { _ = lockstep_set_kernels(lockstep_best_kernels()) }
            for level in [LOCKSTEP_BASELINE, LOCKSTEP_AVX2, LOCKSTEP_AVX512] where lockstep_set_kernels(level) {
                try body(String(cString: lockstep_kernels_name(level)))
            }
        }
    }

    /// The same with one and with three threads.
    static func forEachWithThreads(_ body: (_ name: String) throws -> Void) rethrows {
        try forEach { name in
            defer { _ = tensor_set_threads(1) }
            for threads in [1, 3] as [Int32] where tensor_set_threads(threads) == 0 {
                try body("\(name), \(threads) threads")
            }
        }
    }
}

/// A chain as products take it: fused multiply-adds from zero, cut after 256 elements, the parts added up in order.
struct Chain {
    private var sum: Float = 0
    private var length = 0
    private var total: Float?

    /// - Parameter before: what the sums are added to, if anything.
    init(addingTo before: Float? = nil) { total = before }

    mutating func add(_ a: Float, _ b: Float) {
        sum = sum.addingProduct(a, b)
        length += 1
        if length == 256 { cut() }
    }

    mutating func cut() {
        total = total.map { $0 + sum } ?? sum
        (sum, length) = (0, 0)
    }

    var value: Float {
        var end = self
        if length > 0 || total == nil { end.cut() }
        return end.total!
    }
}

/// The same bits, any NaN being as good as another.
func sameBits(_ a: [Float], _ b: [Float]) -> Bool {
    a.count == b.count && zip(a, b).allSatisfy { $0.bitPattern == $1.bitPattern || $0.isNaN && $1.isNaN }
}
