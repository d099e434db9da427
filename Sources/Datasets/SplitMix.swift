/// The finaliser of SplitMix64: a bijection of 64-bit words in which every input bit reaches every output bit.
///
/// Source: S. Vigna's public-domain splitmix64.c; G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014, with D. Stafford's constants (variant 13).
enum SplitMix {
    /// 2^64 divided by the golden ratio, made odd: the distance between successive states.
    static let increment: UInt64 = 0x9E37_79B9_7F4A_7C15

    static func mix(_ word: UInt64) -> UInt64 {
        var z = word
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A word for (seed, index), such as the key of an epoch. For one seed, no two indices share a word.
    static func key(seed: UInt64, index: Int) -> UInt64 {
        mix(mix(seed &+ increment) &+ increment &* (UInt64(truncatingIfNeeded: index) &+ 1))
    }
}
