import CReductionKernels

/// A worker's usual float32 partial sum of its micro-batches' gradients: what `--reduction fp32` takes instead of
/// `ExactAccumulator`. Owns its memory, 64-byte aligned; threads as there.
public final class FloatAccumulator {
    public let parts: [ExactAccumulator.Part]
    /// The arena of partial sums.
    public let sums: UnsafeMutablePointer<Float>
    private var holdsSum: [Bool]

    public init(count: Int, parts: [ExactAccumulator.Part]) {
        precondition(parts.allSatisfy { $0.offset >= 0 && $0.count >= 0 && $0.offset + $0.count <= count })
        self.parts = parts
        holdsSum = [Bool](repeating: false, count: parts.count)
        // SAFETY: freed in deinit; every element is initialised here, so the padding between parts is zero for good.
        sums = UnsafeMutableRawPointer.allocate(byteCount: max(count, 1) * 4, alignment: 64)
            .bindMemory(to: Float.self, capacity: max(count, 1))
        sums.initialize(repeating: 0, count: count)
    }

    deinit {
        UnsafeMutableRawPointer(sums).deallocate()
    }

    /// Forgets all sums.
    public func begin() {
        for index in holdsSum.indices { holdsSum[index] = false }
    }

    /// Adds one micro-batch's gradient of a part. False if an element of it is NaN or infinite.
    public func accumulate(_ gradient: UnsafePointer<Float>, part index: Int) -> Bool {
        let part = parts[index]
        // SAFETY: the part lies within the arena (checked in init) and the gradient has its length by contract.
        if holdsSum[index] {
            let sum = sums + part.offset
            lockstep_combine(LOCKSTEP_F32, LOCKSTEP_SUM, sum, sum, gradient, part.count)
        } else {
            (sums + part.offset).update(from: gradient, count: part.count)
            holdsSum[index] = true
        }
        return lockstep_largest_magnitude(gradient, part.count) < LOCKSTEP_INFINITY_BITS
    }

    /// Makes a part that got nothing in this step a sum of zero.
    public func settle(part index: Int) {
        guard !holdsSum[index] else { return }
        (sums + parts[index].offset).update(repeating: 0, count: parts[index].count)
        holdsSum[index] = true
    }
}
