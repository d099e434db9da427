/// Who sends what when, where every rank is to have every rank's elements: for all-reduces so short that hops cost more than bytes.
///
/// The elements of one rank are a block. A rank keeps the blocks in the order of the ranks, its own at index 0, and so knows a longer
/// stretch from 0 after every round:
///
///     round k   sends blocks 0 ..< m to rank - 2^k, receives blocks 2^k ..< 2^k + m from rank + 2^k      m = min(2^k, n - 2^k)
///
/// After ceil(log2 n) rounds all n blocks are here, whatever n is; then each rank adds them up in the order of the ranks, and all have
/// the same bits. A round's blocks may leave as soon as they are here: with three ranks both rounds send what a rank has anyway.
/// (Bruck, Ho, Kipnis, Upfal and Weathersby, "Efficient algorithms for all-to-all communications", 1997.)
package struct ExchangePlan: Equatable, Sendable {
    package let rank: Int
    package let worldSize: Int
    package let rounds: Int

    package init(rank: Int, worldSize: Int) {
        precondition(worldSize >= 2 && (0..<worldSize).contains(rank))
        self.rank = rank
        self.worldSize = worldSize
        rounds = ExchangePlan.rounds(worldSize: worldSize)
    }

    /// ceil(log2 n).
    package static func rounds(worldSize: Int) -> Int {
        Int.bitWidth - (worldSize - 1).leadingZeroBitCount
    }

    /// How many blocks go out, and come in, in a round: those from 0, and those from `firstReceived(round)`.
    package func blocks(_ round: Int) -> Int { min(1 << round, worldSize - (1 << round)) }
    package func firstReceived(_ round: Int) -> Int { 1 << round }

    /// The ranks at the other ends of a round.
    package func target(_ round: Int) -> Int { (rank - (1 << round) + worldSize) % worldSize }
    package func origin(_ round: Int) -> Int { (rank + (1 << round)) % worldSize }

    /// Where the block of a rank is.
    package func block(of other: Int) -> Int { (other - rank + worldSize) % worldSize }

    /// The ranks that this one sends to or receives from, in rising order: one connection each serves both directions.
    package var partners: [Int] {
        Set((0..<rounds).flatMap { [target($0), origin($0)] }).sorted()
    }
}
