/// Who sends what when, in a ring all-reduce: plain arithmetic, made once for an operation and then executed.
///
/// An operation's `count` elements are cut into n chunks, one a rank; each chunk into segments of at most `segmentElements`. The
/// k-th segments of all chunks are slice k: a small all-reduce of its own, which goes round the ring in 2 (n - 1) hops. At hop h
/// a rank sends one segment to its right neighbour and receives one from its left:
///
///     chunk sent      (rank - h - 1) mod n
///     chunk received  (rank - h - 2) mod n
///
/// A pattern takes some of these hops, and a broadcast is an all-gather in which one rank's chunk is everything.
/// Hops 0 ..< n - 1 are the reduce-scatter: what is received is added to the rank's own and goes on at the next hop; at hop n - 2
/// rank r receives chunk r, adds its own and has the sum. Hops n - 1 ..< 2 (n - 1) are the all-gather: the sums go round.
/// (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.)
package struct RingPlan: Equatable, Sendable {
    package let rank: Int
    package let worldSize: Int
    package let count: Int
    package let segmentElements: Int
    package let pattern: Pattern
    /// Chunks begin at multiples of it.
    package let grain: Int

    /// What the operation is for.
    package enum Pattern: Equatable, Sendable {
        case allReduce
        /// Rank r ends with the sum of chunk r; with `copies` 1, of chunk r - 1 as well.
        case reduceScatter(copies: Int = 0)
        /// Rank r begins with chunk r, and ends with all; with `copies` 1 it begins with chunk r - 1 as well, and has not to be sent it.
        case allGather(copies: Int = 0)
        case broadcast(root: Int)
    }

    package init(rank: Int, worldSize: Int, count: Int, segmentElements: Int, pattern: Pattern = .allReduce, grain: Int = 1) {
        precondition(worldSize >= 2 && (0..<worldSize).contains(rank) && count >= 0 && segmentElements >= 1 && grain >= 1)
        self.pattern = pattern
        self.grain = grain
        self.rank = rank
        self.worldSize = worldSize
        self.count = count
        self.segmentElements = segmentElements
    }

    /// Hops from here on carry finished sums.
    package var firstGatherHop: Int { worldSize - 1 }

    /// The hops that are taken.
    package var hops: Range<Int> {
        switch pattern {
        case .allReduce: 0..<(2 * (worldSize - 1))
        case .reduceScatter(let copies): 0..<(firstGatherHop + copies)
        case .allGather(let copies): (firstGatherHop + copies)..<(2 * (worldSize - 1))
        case .broadcast: firstGatherHop..<(2 * (worldSize - 1))
        }
    }

    package var sliceCount: Int { (largestChunk + segmentElements - 1) / segmentElements }

    package func chunk(_ index: Int) -> Range<Int> {
        switch pattern {
        case .broadcast(let root): index == root ? 0..<count : 0..<0
        case .allReduce, .reduceScatter, .allGather: RingPlan.chunk(index, of: count, worldSize: worldSize, grain: grain)
        }
    }

    /// Chunks differ by at most one grain: the first ones have the one more. The last that is not empty may be shorter.
    package static func chunk(_ index: Int, of count: Int, worldSize: Int, grain: Int = 1) -> Range<Int> {
        let (base, extra) = ((count + grain - 1) / grain).quotientAndRemainder(dividingBy: worldSize)
        let start = index * base + min(index, extra)
        let end = start + base + (index < extra ? 1 : 0)
        return min(start * grain, count)..<min(end * grain, count)
    }

    /// The elements of chunk `index` that belong to a slice; empty where the chunk is shorter than others.
    package func segment(chunk index: Int, slice: Int) -> Range<Int> {
        let chunk = chunk(index)
        let start = min(chunk.lowerBound + slice * segmentElements, chunk.upperBound)
        return start..<min(start + segmentElements, chunk.upperBound)
    }

    package func chunkSent(hop: Int) -> Int {
        modulo(rank - hop - 1)
    }

    package func chunkReceived(hop: Int) -> Int {
        modulo(rank - hop - 2)
    }

    /// The longest stretch that one rank sends on behalf of another.
    package static func largestChunk(of count: Int, worldSize: Int, _ pattern: Pattern, grain: Int = 1) -> Int {
        switch pattern {
        case .broadcast: count
        case .allReduce, .reduceScatter, .allGather: chunk(0, of: count, worldSize: worldSize, grain: grain).count
        }
    }

    private var largestChunk: Int {
        RingPlan.largestChunk(of: count, worldSize: worldSize, pattern, grain: grain)
    }

    /// Hops are fewer than 2 n, so that two turns make the difference positive.
    private func modulo(_ difference: Int) -> Int {
        (difference + 2 * worldSize) % worldSize
    }
}
