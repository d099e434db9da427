import Wire

/// What a ring's protocol has room for and where it stands: plain arithmetic on the window's places, hops and slots.
///
/// Long segments cost the fewest wake-ups, each of which is as dear as copying tens of kilobytes; two of them under way are
/// enough to add up one while the other travels. Chosen by measurement on loopback with two cores, two and four workers.
struct RingLayout {
    /// Slices under way.
    static let window = 2
    /// All slots together, whatever the world size: a ring has two neighbours, so that each costs at most half of this.
    static let slotBudgetBytes = 6 << 20
    static let longestSegmentBytes = 1 << 20
    /// A chunk of less goes as one segment.
    static let shortestSegmentBytes = 256 << 10

    let worldSize: Int
    /// Bytes of a slot, and so of the longest segment.
    let slotBytes: Int

    init(worldSize: Int) {
        self.worldSize = worldSize
        let slotCount = RingLayout.window * (worldSize - 1)
        slotBytes = max(64, min(RingLayout.longestSegmentBytes, RingLayout.slotBudgetBytes / slotCount & ~63))
    }

    /// One for each place and hop of the reduce-scatter.
    var slotCount: Int { RingLayout.window * (worldSize - 1) }
    /// One for each place and hop.
    var sendCount: Int { RingLayout.window * hopCount }
    var hopCount: Int { 2 * (worldSize - 1) }
    /// The first hop of the all-gather.
    var firstGatherHop: Int { worldSize - 1 }

    func place(of slice: UInt64) -> Int { Int(slice % UInt64(RingLayout.window)) }
    func slot(place: Int, hop: Int) -> Int { place * (worldSize - 1) + hop }
    func token(place: Int, hop: Int) -> Int { place * hopCount + hop }
    func place(ofToken token: Int) -> Int { token / hopCount }
    func hop(ofToken token: Int) -> Int { token % hopCount }

    /// Two segments a chunk, so that one is added up while the other travels; a slot bounds them, and short ones do not pay.
    func segmentElements(of operation: CollectiveOperation) -> Int {
        let bytes = operation.reduction.partialBytes
        let chunk = RingPlan.largestChunk(
            of: operation.count, worldSize: worldSize, operation.pattern, grain: operation.grain)
        let wanted = max((chunk + 1) / 2 * bytes, RingLayout.shortestSegmentBytes)
        return max(1, min(wanted, slotBytes) / bytes)
    }
}
