import CTensorKernels

/// What matrix products multiply. Weights, gradients, sums, activations and everything else are float32 in any case.
///
/// Part of the recipe: another precision gives other bits.
public struct Precision: Sendable, Hashable {
    enum Kind: Sendable {
        case float32
        case bfloat16
        /// The same products by float32 arithmetic: the factors are rounded to bfloat16, and products of two of those are float32
        /// numbers. Sums are taken in another order than the hardware's.
        case emulatedBFloat16
    }

    let kind: Kind

    public static let float32 = Precision(kind: .float32)

    /// Both factors of the products of linear layers and of `Tensor.matrixProduct` are rounded to bfloat16, to nearest and ties to
    /// even, forward and backward; products and sums are float32. Attention's products and convolutions are float32.
    /// For CPUs that have it: see `isSupported`.
    public static let bfloat16 = Precision(kind: .bfloat16)

    /// For tests of what bfloat16 does to a computation, on any CPU. Never chosen by itself: it is slower than float32.
    package static let emulatedBFloat16 = Precision(kind: .emulatedBFloat16)

    /// "fp32" or "bf16", as flags and recipes have it.
    public var name: String { self == .float32 ? "fp32" : "bf16" }

    /// Whether this CPU can: for bfloat16 it needs AVX512_BF16.
    public var isSupported: Bool { kind != .bfloat16 || tensor_has_bfloat16() }
}

extension Precision {
    public init?(name: String) {
        guard let found = [Precision.float32, .bfloat16].first(where: { $0.name == name }) else { return nil }
        self = found
    }
}
