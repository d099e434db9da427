import CTensorKernels

/// A stream of random numbers named by what it is for: Philox4x32-10, a function of key and counter that keeps no
/// state.
///
/// Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11.
package struct RandomStream {
    /// What a stream is for; streams of different purposes never meet.
    package enum Purpose: UInt64 {
        case initialization = 1
        case dropout = 2
    }

    let key: tensor_random_key

    /// The stream of one seed and purpose that three words tell from the others.
    package init(seed: UInt64, purpose: Purpose, _ a: UInt32, _ b: UInt32, _ c: UInt32) {
        key = tensor_random_key(key: Self.mix(seed &+ purpose.rawValue &* 0x9E37_79B9_7F4A_7C15), a: a, b: b, c: c)
    }

    /// Four words of the stream.
    package func block(_ index: UInt32) -> [UInt32] {
        var words: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
        withUnsafeMutablePointer(to: &words) {
            // SAFETY: a tuple of four UInt32 is laid out as an array of four.
            $0.withMemoryRebound(to: UInt32.self, capacity: 4) { tensor_random_block($0, key, index) }
        }
        return [words.0, words.1, words.2, words.3]
    }

    /// SplitMix64's finaliser: neighbouring seeds give unrelated keys.
    private static func mix(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
