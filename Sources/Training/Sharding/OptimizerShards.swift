import Collectives
import Optimizers
import Processes

/// The part of the optimizer's state that a rank keeps where each keeps a part: its own chunks of the arena, and those of the member before
/// it, so that one death loses nothing.
///
/// With n members that is 2 / n of the state, and all of it for one or two. Owns the memory. Used by the compute thread.
final class OptimizerShards {
    /// What one member owns, with its state: for each of the optimizer's names an array of `count` floats, one after the other.
    final class Piece {
        let owner: Int
        /// One for each bucket, some of them empty.
        let ranges: [Range<Int>]
        /// Where the elements of each range begin in an array.
        private let starts: [Int]
        let count: Int
        private let memory: UnsafeMutableBufferPointer<Float>

        init(owner: Int, ranges: [Range<Int>], states: Int) {
            self.owner = owner
            self.ranges = ranges
            var starts: [Int] = []
            var count = 0
            for range in ranges {
                starts.append(count)
                count += range.count
            }
            self.starts = starts
            self.count = count
            memory = allocateFloats(count * states, for: "optimizer state")
            memory.initialize(repeating: 0)
        }

        deinit {
            memory.deallocate()
        }

        /// Where an array begins; valid as long as the piece.
        func state(_ number: Int) -> UnsafeMutablePointer<Float> { memory.baseAddress! + number * count }

        /// Where a bucket's elements begin in an array.
        func state(_ number: Int, bucket: Int) -> UnsafeMutablePointer<Float> { state(number) + starts[bucket] }

        /// Takes what belongs to this piece from memory that holds a stretch of one state.
        func write(_ stretch: Range<Int>, state number: Int, from memory: UnsafePointer<Float>) {
            forEachCommonPart(with: stretch, number) { own, offset, count in own.update(from: memory + offset, count: count) }
        }

        /// Copies what this piece has of a stretch's state into memory for that stretch.
        func read(_ stretch: Range<Int>, state number: Int, into memory: UnsafeMutablePointer<Float>) {
            forEachCommonPart(with: stretch, number) { own, offset, count in (memory + offset).update(from: own, count: count) }
        }

        private func forEachCommonPart(
            with stretch: Range<Int>, _ number: Int, _ body: (_ own: UnsafeMutablePointer<Float>, _ offset: Int, _ count: Int) -> Void
        ) {
            for (bucket, range) in ranges.enumerated() {
                let common = range.clamped(to: stretch)
                guard !common.isEmpty else { continue }
                let own = state(number, bucket: bucket) + (common.lowerBound - range.lowerBound)
                body(own, common.lowerBound - stretch.lowerBound, common.count)
            }
        }
    }

    /// The arena's elements that have a state.
    let buckets: [Range<Int>]
    /// Arrays of state for each of them.
    let states: Int
    private(set) var kept: Kept?
    /// What has come on a newer ring, of which it is not known that all ranks have theirs: until then all have what they had before.
    private(set) var arrived: Kept?
    /// How many steps the state has seen.
    var updates = 0
    /// The place for which this rank has sums: of a step that is decided, and that the state may not have seen.
    var sums: ShardReport.Position?

    /// What a rank keeps, and since when all state is shared out like that.
    struct Kept {
        var share: ShardReport.Share
        var pieces: [Piece]
        /// Whether the sums of the step came with it, to the same place.
        var hasSums = false
    }

    /// Elements that go over the ring at a time when state moves.
    static let parcel = 1 << 18
    /// Chunks hold whole blocks of the gradient's norm.
    static let grain = GradientNorm.blockSize

    init(buckets: [Range<Int>], states: Int) {
        self.buckets = buckets
        self.states = states
    }

    /// Elements that have a state.
    var count: Int { buckets.last?.upperBound ?? 0 }

    var pieces: [Piece] { kept?.pieces ?? [] }
    /// -1 before there is any state.
    var number: Int { kept?.share.number ?? -1 }

    var byteCount: Int { pieces.reduce(0) { $0 + $1.count * states * 4 } }

    func layout(worldSize: Int) -> ShardLayout { ShardLayout(buckets: buckets, worldSize: worldSize, grain: OptimizerShards.grain) }

    /// All that the member with that position keeps; nothing for nil.
    func ranges(_ position: ShardReport.Position?) -> [Range<Int>] { position.map { layout(worldSize: $0.worldSize).kept(at: $0.place) } ?? [] }

    /// New memory, with zeros, for what the member with that position keeps.
    func empty(_ position: ShardReport.Position, number: Int) -> Kept {
        let layout = layout(worldSize: position.worldSize)
        return Kept(
            share: .init(position: position, number: number),
            pieces: layout.owners(keptAt: position.place).map { Piece(owner: $0, ranges: layout.chunks(ofOwner: $0), states: states) })
    }

    /// What all ranks have now: nothing else is of use.
    func take(_ new: Kept?, updates: Int) {
        kept = new
        arrived = nil
        self.updates = updates
    }

    /// - Parameter new: nil for a rank that is to keep nothing.
    func receive(_ new: Kept?, withSums: Bool, updates: Int) {
        arrived = new
        arrived?.hasSums = withSums
        self.updates = updates
    }

    /// The sharing out with that number was the last: what has arrived is what this rank keeps if it came then, and else it came in vain.
    ///
    /// - Parameter sums: for which place this rank has the sums of a step that is decided.
    func settle(number: Int, sums: ShardReport.Position?) {
        if let arrived, arrived.share.number == number { kept = arrived }
        arrived = nil
        self.sums = sums
    }

    /// - Parameter isDecided: whether the sums are those of a step that is decided.
    func report(isDecided: Bool) -> ShardReport {
        ShardReport(
            kept: kept?.share, arrived: arrived?.share, sumsArrived: arrived?.hasSums ?? false, sums: isDecided ? sums : nil,
            updates: updates)
    }
}
