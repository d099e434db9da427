import CInstructionSets
import Glibc

/// Which instructions this process computes with: the best that the CPU has, or less if LOCKSTEP_CPU says so. All give
/// the same bits.
public enum Kernels {
    /// "baseline", "avx2" or "avx512", and " with bfloat16" where the CPU multiplies that by itself.
    public static var name: String {
        name(of: lockstep_kernels_in_use()) + (lockstep_uses_bfloat16() ? " with bfloat16" : "")
    }

    /// Throws where LOCKSTEP_CPU asked for what there is not when the process started; the best kernels are in use
    /// then.
    public static func check() throws(KernelsError) {
        let request = lockstep_kernels_request()
        guard request != LOCKSTEP_REQUEST_MET else { return }
        let asked = getenv("LOCKSTEP_CPU").map { String(cString: $0) } ?? ""
        let best = name(of: lockstep_best_kernels())
        throw request == LOCKSTEP_REQUEST_MISSING ? .missing(name: asked, best: best) : .unknown(name: asked, best: best)
    }

    private static func name(of kernels: lockstep_kernels) -> String { String(cString: lockstep_kernels_name(kernels)) }
}

/// What LOCKSTEP_CPU asks for cannot be had.
public enum KernelsError: Error, Hashable, CustomStringConvertible {
    /// No kernels are called that.
    case unknown(name: String, best: String)
    /// This CPU lacks the instructions.
    case missing(name: String, best: String)

    public var description: String {
        switch self {
        case .unknown(let name, let best):
            "LOCKSTEP_CPU is \"\(name)\", which is none of baseline, avx2 and avx512: leave it out for the best that this CPU has, \(best)"
        case .missing(let name, let best):
            "LOCKSTEP_CPU is \(name), which this CPU lacks: leave it out for the best that it has, \(best)"
        }
    }
}
