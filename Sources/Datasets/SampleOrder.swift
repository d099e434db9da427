/// The order in which an epoch visits its samples: a pseudo-random permutation that is computed, not stored.
///
/// A position of the epoch is mapped to a sample index by a keyed Feistel network over the smallest power of two that
/// holds `count`; a result outside `0 ..< count` is mapped again until it falls inside ("cycle walking", fewer than two
/// rounds on average). Any worker finds any sample of any epoch with no table, no state and no message, at the same
/// cost for 10 samples and for 10^12. The order depends on (seed, count, epoch) and on nothing else.
///
/// Sources: M. Luby, C. Rackoff, "How to construct pseudorandom permutations", 1988, for the network; J. Black,
/// P. Rogaway, "Ciphers with arbitrary finite domains", 2002, for the walk. This is for shuffling, not for secrets.
public struct SampleOrder: Sendable, Hashable {
    /// The largest number of samples.
    public static let maximumCount = 1 << 62

    /// With halves of one or two bits, four rounds are not enough to reach all permutations evenly; sixteen are, and
    /// still cost some 150 ns a sample only.
    private static let rounds: UInt64 = 16

    /// The run's seed.
    public let seed: UInt64
    /// The number of samples, and of positions in an epoch.
    public let count: Int

    /// The network's block is split in a high half of `highBits` and a low half of `lowBits`, not necessarily equal.
    private let highBits: UInt64
    private let lowBits: UInt64

    /// - Parameters:
    ///   - seed: the run's seed.
    ///   - count: the number of samples, from 1 to `maximumCount`.
    public init(seed: UInt64, count: Int) {
        precondition(count >= 1 && count <= SampleOrder.maximumCount, "an order of \(count) samples")
        self.seed = seed
        self.count = count
        let bits = UInt64(Int.bitWidth - (count - 1).leadingZeroBitCount)
        highBits = bits / 2
        lowBits = bits - bits / 2
    }

    /// The sample at `position` of `epoch`. Over all positions of one epoch, each sample comes exactly once.
    public func sample(epoch: Int, position: Int) -> Int {
        precondition(epoch >= 0 && position >= 0 && position < count, "position \(position) of \(count)")
        return walk(from: position, key: SplitMix.key(seed: seed, index: epoch))
    }

    /// The samples at a range of positions of `epoch`, in order: what a micro-batch asks its data set for.
    public func samples(epoch: Int, positions: Range<Int>) -> [Int] {
        precondition(epoch >= 0 && positions.lowerBound >= 0 && positions.upperBound <= count, "\(positions) of \(count)")
        let key = SplitMix.key(seed: seed, index: epoch)
        return positions.map { walk(from: $0, key: key) }
    }

    private func walk(from position: Int, key: UInt64) -> Int {
        var block = UInt64(position)
        repeat {
            block = permute(block, key: key)
        } while block >= UInt64(count)
        return Int(block)
    }

    /// One pass through the network: a bijection of `0 ..< 2^(highBits + lowBits)`, because each round changes one half
    /// by XOR with a function of the other half alone.
    private func permute(_ block: UInt64, key: UInt64) -> UInt64 {
        let highMask = (1 << highBits) - 1 as UInt64
        let lowMask = (1 << lowBits) - 1 as UInt64
        var high = block >> lowBits
        var low = block & lowMask
        var roundKey = key
        for _ in 0..<SampleOrder.rounds / 2 {
            roundKey &+= SplitMix.increment
            high ^= SplitMix.mix(roundKey ^ low) & highMask
            roundKey &+= SplitMix.increment
            low ^= SplitMix.mix(roundKey ^ high) & lowMask
        }
        return high << lowBits | low
    }
}
