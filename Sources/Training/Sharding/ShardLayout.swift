import Collectives
import Optimizers

/// Who keeps what, where the optimizer's state is shared out: arithmetic on which all ranks agree.
///
/// Each bucket is cut into one chunk a member, as the ring cuts it; the member at place i owns chunk i of every bucket, and keeps a copy of
/// chunk i - 1.
package struct ShardLayout: Equatable, Sendable {
    /// The arena's elements that have a state, in order, each bucket beginning where the one before it ends.
    package let buckets: [Range<Int>]
    package let worldSize: Int
    /// Chunks begin at multiples of it within a bucket.
    package let grain: Int

    package init(buckets: [Range<Int>], worldSize: Int, grain: Int) {
        self.buckets = buckets
        self.worldSize = worldSize
        self.grain = grain
    }

    /// What the member at a place owns: a stretch of each bucket, empty where the bucket is too short.
    package func chunks(ofOwner owner: Int) -> [Range<Int>] {
        buckets.map { bucket in
            let chunk = RingPlan.chunk(owner, of: bucket.count, worldSize: worldSize, grain: grain)
            return bucket.lowerBound + chunk.lowerBound..<bucket.lowerBound + chunk.upperBound
        }
    }

    /// Whose chunks the member at a place keeps: its own, and those of the member before it.
    package func owners(keptAt place: Int) -> [Int] {
        worldSize == 1 ? [0] : [place, (place + worldSize - 1) % worldSize]
    }

    /// All that the member at a place keeps.
    package func kept(at place: Int) -> [Range<Int>] {
        owners(keptAt: place).flatMap { chunks(ofOwner: $0) }.filter { !$0.isEmpty }
    }
}
