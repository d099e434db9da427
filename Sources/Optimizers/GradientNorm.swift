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
        survey(gradients, partEnds: gradients.isEmpty ? [] : [gradients.count]).blockSums
    }

    /// What a step asks of its gradients, in one pass: `blockSums`, and `largestMagnitude` of each part.
    ///
    /// - Parameter partEnds: where the parts end, in order: at multiples of 16, as an arena's parameters with the gaps behind them
    ///   do, and the last at the end. The largest magnitude of an empty part is 0.
    public static func survey(
        _ gradients: UnsafeBufferPointer<Float>, partEnds: [Int]
    ) -> (blockSums: [Double], largest: [Float]) {
        precondition(partEnds.last ?? 0 == gradients.count, "the last part ends at \(gradients.count)")
        precondition(zip([0] + partEnds, partEnds).allSatisfy { $0 <= $1 && $0 % 16 == 0 }, "parts begin at multiples of 16")
        guard let base = gradients.baseAddress, !gradients.isEmpty else { return ([], []) }
        let count = (gradients.count + blockSize - 1) / blockSize
        var largest = [Float](repeating: 0, count: partEnds.count)
        let sums = [Double](unsafeUninitializedCapacity: count) { sums, initialized in
            tensor_survey(sums.baseAddress, &largest, base, gradients.count, blockSize, partEnds)
            initialized = count
        }
        return (sums, largest)
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
