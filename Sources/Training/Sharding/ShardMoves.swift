import Collectives
import Processes

/// Where the optimizer's state is shared out, and the ring is a new one: who has what, and how each gets what it is to keep.
extension Trainer {
    /// What the ranks hold when a ring is new.
    struct Holdings {
        /// What each keeps, by place; nil for one that has nothing.
        var positions: [ShardReport.Position?]
        var states: ShardHoldings
        /// Whether all states have seen the step that is decided, or can: their ranks have its sums.
        var isUpToDate: Bool
        /// The sums of that step, if they are to go where the states go; nil if they are there, or of no more use.
        var sums: ShardHoldings?
        var count: Int

        var areLost: Bool {
            [states, sums].contains { $0?.parcels(count: count, limit: count).contains { $0.holder == nil } ?? false }
        }
    }

    /// On a ring that is new, the ranks tell each other what they hold; nil on one on which the state is shared out as it should be.
    func exchangeHoldings() throws -> Holdings? {
        let shards = shards!
        guard shards.number != shardNumber else { return nil }
        // A rank that was behind when the run went back has a state that is not this step's.
        if shards.updates != committedSteps, decided == nil || shards.updates != committedSteps + 1 { shards.take(nil, updates: 0) }
        let all = try exchange(shards.report(isDecided: decided != nil))
        // What has arrived counts for all, if anybody knows that all have theirs.
        let newest = all.map(\.number).max() ?? -1
        let (states, sums) = (all.map { $0.position(in: newest) }, all.map { $0.sums(in: newest) })
        shards.settle(number: newest, sums: sums[ring.place])
        // Before the first step nobody has any, and all is zero.
        let isDecided = decided != nil
        if committedSteps == 0, !isDecided, states.allSatisfy({ $0 == nil }) {
            beginShards()
            return nil
        }
        let isUpToDate =
            isDecided && all.indices.allSatisfy { states[$0] == nil || states[$0] == sums[$0] || all[$0].updates != committedSteps }
        let sumsAreNeeded = isDecided && !isUpToDate && sums != ringPositions
        return Holdings(
            positions: states, states: ShardHoldings(ranges: states.map(shards.ranges)), isUpToDate: isUpToDate,
            sums: sumsAreNeeded ? ShardHoldings(ranges: sums.map(shards.ranges)) : nil, count: shards.count)
    }

    private func exchange(_ own: ShardReport) throws -> [ShardReport] {
        var numbers = [Int64](repeating: 0, count: ring.worldSize * ShardReport.width)
        numbers.replaceSubrange(ring.place * ShardReport.width..<(ring.place + 1) * ShardReport.width, with: own.numbers)
        try numbers.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
        return (0..<ring.worldSize).map { ShardReport(numbers[$0 * ShardReport.width..<($0 + 1) * ShardReport.width]) }
    }

    /// What the members keep on this ring.
    var ringPositions: [ShardReport.Position?] { (0..<ring.worldSize).map { .init(worldSize: ring.worldSize, place: $0) } }

    /// What the ranks hold on a ring on which the state is shared out as it should be.
    private var asSharedOut: Holdings {
        Holdings(
            positions: ringPositions, states: ShardHoldings(ranges: ringPositions.map(shards!.ranges)), isUpToDate: false,
            count: shards!.count)
    }

    /// Where members of this ring are to go at its end, the others get what they are to keep without them. On every rank, after the last
    /// step on this ring.
    func handOverShards() throws {
        guard shards != nil else { return }
        try ring.section {
            let staying = ring.members.filter { !ring.retiring.contains($0) }
            guard !staying.isEmpty, staying.count < ring.worldSize else {
                try ring.barrier()
                return []
            }
            let holdings = try exchangeHoldings() ?? asSharedOut
            // What is lost is found out by the next step.
            guard !holdings.areLost else { return [] }
            let positions = ring.members.map { rank in
                staying.firstIndex(of: rank).map { ShardReport.Position(worldSize: staying.count, place: $0) }
            }
            try move(holdings, to: positions, number: ShardReport.Share.number(generation: ring.generation, isHandOver: true))
            return []
        }
    }

    /// Every rank gets what it is to keep: state, and the values that go with it, or the sums that are to go into it. What it had before
    /// stays until all have theirs.
    ///
    /// - Parameters:
    ///   - positions: what the members are to keep, by place.
    ///   - number: of this sharing out.
    func move(_ holdings: Holdings, to positions: [ShardReport.Position?], number: Int) throws {
        let shards = shards!
        let own = positions[ring.place]
        if let held = holdings.sums { try send(held, of: gradientSums, to: shards.ranges(own)) }
        if positions == holdings.positions {
            let same = own.map { OptimizerShards.Kept(share: .init(position: $0, number: number), pieces: shards.pieces) }
            shards.receive(same, withSums: holdings.sums != nil, updates: shards.updates)
        } else {
            let new = own.map { shards.empty($0, number: number) }
            try send(
                holdings.states, arrays: shards.states,
                read: { stretch, number, memory in for piece in shards.pieces { piece.read(stretch, state: number, into: memory) } },
                write: { stretch, number, memory in for piece in new?.pieces ?? [] { piece.write(stretch, state: number, from: memory) } })
            // Who holds a stretch has the bits that go with it; what others have is the same, or of no use yet.
            if holdings.isUpToDate { try send(holdings.states, of: arena.values, to: [0..<shards.count]) }
            shards.receive(new, withSums: holdings.sums != nil, updates: committedSteps + (holdings.isUpToDate ? 1 : 0))
        }
        try visit(.moved)
        // Nobody updates, or forgets what it had, before all have what they are to keep.
        try ring.barrier()
        shards.settle(number: number, sums: holdings.sums == nil ? shards.sums : position)
    }

    /// Sends all stretches of an arena from those who hold them to all ranks, of which each takes what it is to have.
    private func send(
        _ held: ShardHoldings, of arena: UnsafeMutableBufferPointer<Float>, to wanted: [Range<Int>]
    ) throws {
        guard let base = arena.baseAddress else { return }
        try send(
            held, arrays: 1,
            read: { stretch, _, memory in memory.update(from: base + stretch.lowerBound, count: stretch.count) },
            write: { stretch, _, memory in
                for common in wanted.map({ $0.clamped(to: stretch) }) where !common.isEmpty {
                    let first = memory + (common.lowerBound - stretch.lowerBound)
                    (base + common.lowerBound).update(from: first, count: common.count)
                }
            })
    }

    /// Sends all stretches of some arrays from those who hold them to all ranks.
    ///
    /// - Parameters:
    ///   - read: copies a stretch of an array into memory for it; called where it is held.
    ///   - write: takes from that memory; called everywhere.
    private func send(
        _ held: ShardHoldings, arrays: Int, read: (Range<Int>, _ array: Int, UnsafeMutablePointer<Float>) -> Void,
        write: (Range<Int>, _ array: Int, UnsafePointer<Float>) -> Void
    ) throws {
        guard arrays > 0 else { return }
        let scratch = UnsafeMutableBufferPointer<Float>.allocate(capacity: OptimizerShards.parcel)
        defer { scratch.deallocate() }
        for (number, parcel) in held.parcels(count: shards!.count, limit: OptimizerShards.parcel / arrays).enumerated() {
            try visit(.moving(number))
            guard let holder = parcel.holder else { preconditionFailure("a lost stretch is sent") }
            func forEach(_ body: (Range<Int>, Int, UnsafeMutablePointer<Float>) -> Void) {
                var memory = scratch.baseAddress!
                for array in 0..<arrays {
                    for stretch in parcel.stretches {
                        body(stretch, array, memory)
                        memory += stretch.count
                    }
                }
            }
            if holder == ring.place { forEach(read) }
            try ring.broadcast(UnsafeMutableBufferPointer(rebasing: scratch[..<(parcel.count * arrays)]), from: holder)
            forEach { write($0, $1, UnsafePointer($2)) }
        }
    }

    /// The whole of each state on the first rank, for a checkpoint; no memory on the others. nil where a part of it is lost, and the next
    /// step will go back. A part of a section.
    func gatherStates() throws -> GatheredStates? {
        guard let shards else { return GatheredStates(states: stateArenas, isOwner: false) }
        let holdings = try exchangeHoldings() ?? asSharedOut
        if holdings.areLost { return nil }
        let gathered = GatheredStates(
            states: (0..<shards.states).map { _ in
                guard isFirst else { return UnsafeMutableBufferPointer(start: nil, count: 0) }
                let memory = allocateFloats(arena.count, for: "the whole optimizer state")
                memory.initialize(repeating: 0)
                return memory
            }, isOwner: true)
        try send(
            holdings.states, arrays: shards.states,
            read: { stretch, number, memory in for piece in shards.pieces { piece.read(stretch, state: number, into: memory) } },
            write: { stretch, number, memory in
                guard let whole = gathered.states[number].baseAddress else { return }
                (whole + stretch.lowerBound).update(from: memory, count: stretch.count)
            })
        return gathered
    }
}
