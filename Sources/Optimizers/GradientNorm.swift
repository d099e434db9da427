import CTensorKernels

/// The global norm of an arena's gradients, in pieces that add up to the same bits however they are shared out.
///
/// Squares are summed in double over fixed blocks of 4096 places of the arena, and the blocks' sums in ascending
/// order.
public enum GradientNorm {
    /// Places of the arena a block covers. Parts that ranks work on must start at a multiple of it.
    public static let blockSize = 4096

    /// Sums of squares of consecutive blocks, the last of which may be shorter.
    public static func blockSums(_ gradients: UnsafeBufferPointer<Float>) -> [Double] {
        let count = (gradients.count + blockSize - 1) / blockSize
        guard let base = gradients.baseAddress else { return [] }
        return Array(unsafeUninitializedCapacity: count) { sums, initialized in
            tensor_sums_of_squares(sums.baseAddress, base, gradients.count, blockSize)
            initialized = count
        }
    }

    /// The norm of gradients that are still to be multiplied by `scale`, from all blocks' sums in ascending order.
    public static func norm(blockSums: some Sequence<Double>, scale: Double = 1) -> Double {
        blockSums.reduce(0, +).squareRoot() * scale
    }

    /// What gradients are multiplied by so that their norm is at most `limit`: PyTorch's `clip_grad_norm_`, min(1,
    /// limit / (norm + 1e-6)).
    public static func clipFactor(norm: Double, limit: Double) -> Double { min(1, limit / (norm + 1e-6)) }

    /// The largest magnitude among some gradients; NaN if any of them is NaN, infinity if any is infinite and none
    /// NaN.
    public static func largestMagnitude(_ gradients: UnsafeBufferPointer<Float>) -> Float {
        gradients.baseAddress.map { tensor_max_magnitude($0, gradients.count) } ?? 0
    }
}
