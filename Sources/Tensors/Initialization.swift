import CTensorKernels

/// How a parameter's first values are drawn.
public enum Initialization: Sendable, Hashable {
    case constant(Float)
    /// Normal with mean 0.
    case normal(deviation: Float)
    /// Uniform in [-bound, bound).
    case uniform(bound: Float)

    public static let zeros = Initialization.constant(0)
    public static let ones = Initialization.constant(1)

    /// Fills memory with a parameter's first values: a function of seed and name only.
    func fill(_ values: UnsafeMutableBufferPointer<Float>, seed: UInt64, name: String) {
        // FNV-1a, 64 bits: a parameter keeps its numbers when others are added to the model.
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        let stream = RandomStream(
            seed: seed, purpose: .initialization, UInt32(truncatingIfNeeded: hash), UInt32(hash >> 32), 0)
        guard let base = values.baseAddress else { return }
        switch self {
        case .constant(let value): values.update(repeating: value)
        case .normal(let deviation): tensor_random_normal(base, values.count, stream.key, deviation)
        case .uniform(let bound): tensor_random_uniform(base, values.count, stream.key, -bound, bound)
        }
    }
}
