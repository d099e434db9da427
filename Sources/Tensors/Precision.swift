/// What matrix products multiply. Weights, gradients, sums, activations and everything else are float32 in any case.
///
/// Part of the recipe: another precision gives other bits.
public enum Precision: Sendable, Hashable {
    case float32

    /// Both factors of the products of linear layers and of `Tensor.matrixProduct` are rounded to bfloat16, to nearest and ties to
    /// even, forward and backward; products and sums are float32. Attention's products and convolutions are float32.
    ///
    /// The bits are the same on every CPU. Only some are faster with it than in float32: AMD's with AVX512_BF16.
    case bfloat16

    /// "fp32" or "bf16", as flags and recipes have it.
    public var name: String { self == .float32 ? "fp32" : "bf16" }

    public init?(name: String) {
        guard let found = [Precision.float32, .bfloat16].first(where: { $0.name == name }) else { return nil }
        self = found
    }
}
