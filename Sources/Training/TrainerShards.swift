import Collectives
import Tensors

/// Steps where the optimizer's state is shared out.
///
/// All ranks get the sum of all gradients and decide on the step: a section. Then each updates its own chunk of the weights and the one
/// that it keeps a copy of, and all get all chunks: a second section. From the decision on the step is not given up: a rank that was
/// behind takes the gradient from another; whoever has not updated its part does; what a dead rank had is with its neighbour.
extension Trainer {
    /// The second section.
    ///
    /// - Returns: the values of the first one, or none if the run has gone back to a checkpoint.
    func commitShards(_ outcome: StepOutcome, _ clock: inout StepClock) throws -> Ring.Outcome {
        try ring.section {
            let shards = shards!
            try visit(.decision)
            let holdings = try exchangeHoldings()
            if let holdings, holdings.isLost {
                guard let step = try goBack() else { throw TrainingError.stateLost(step: committedSteps) }
                return [Double(step)]
            }
            try clock.measure(.optimizer) {
                for piece in shards.pieces where piece.updates == outcome.step {
                    update(piece.range, state: (0..<shards.states).map(piece.state), with: outcome)
                    piece.updates += 1
                }
                if let holdings { try moveShards(holdings) }
            }
            try visit(.gathering)
            try clock.measure(.exposedReduce) {
                try ring.allGather(UnsafeMutableBufferPointer(rebasing: arena.values[arena.trainedRange]))
                // Where there are more ranks than elements, some have nothing to wait for.
                if shards.count < ring.worldSize { try ring.barrier() }
            }
            clock.measure(.optimizer) { endCommit(outcome) }
            decided = nil
            return outcome.values
        }
    }

    /// New memory for what this rank keeps on this ring.
    func emptyShards(updates: Int) -> [OptimizerShards.Piece] {
        guard let shards else { return [] }
        return layout[ring.place].map { OptimizerShards.Piece(range: $0, states: shards.states, updates: updates) }
    }

    /// Who keeps what on this ring.
    private var layout: [[Range<Int>]] {
        (0..<ring.worldSize).map { place in
            OptimizerShards.ranges(place: place, worldSize: ring.worldSize) { ring.chunk($0, of: shards!.count) }
        }
    }

    /// What the ranks hold when a ring is new, and whether that is everything.
    struct Holdings {
        var held: ShardHoldings
        var stretches: [Range<Int>]
        var isLost: Bool { stretches.contains { held.holder(of: $0) == nil } }
    }

    /// On a ring that is new, the ranks tell each other what they hold; nil on one on which the state is shared out as it should be.
    private func exchangeHoldings() throws -> Holdings? {
        let shards = shards!
        guard shards.generation != ring.generation else { return nil }
        // A rank that was behind when the run went back has a state that is not this step's.
        let valid = shards.pieces.filter { $0.updates == committedSteps || decided != nil && $0.updates == committedSteps + 1 }
        if valid.count < shards.pieces.count { shards.take(valid, generation: -1) }
        let width = 4
        var ends = [Int64](repeating: 0, count: ring.worldSize * width)
        for (number, piece) in shards.pieces.enumerated() {
            ends[ring.place * width + number * 2] = Int64(piece.range.lowerBound)
            ends[ring.place * width + number * 2 + 1] = Int64(piece.range.upperBound)
        }
        try ends.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
        let ranges = (0..<ring.worldSize).map { place in
            [0, 2].map { Int(ends[place * width + $0])..<Int(ends[place * width + $0 + 1]) }.filter { !$0.isEmpty }
        }
        // Before the first step nobody has any, and all is zero.
        if committedSteps == 0, ranges.joined().isEmpty {
            shards.take(emptyShards(updates: 0), generation: ring.generation)
            return nil
        }
        let held = ShardHoldings(ranges: ranges)
        return Holdings(held: held, stretches: held.stretches(count: shards.count, wanted: layout, limit: OptimizerShards.segment))
    }

    /// Every rank gets what it is to keep: state, and the values that go with it. What it had before stays until it has all.
    private func moveShards(_ holdings: Holdings) throws {
        let shards = shards!
        let pieces = emptyShards(updates: committedSteps + (decided == nil ? 0 : 1))
        let scratch = UnsafeMutableBufferPointer<Float>.allocate(capacity: OptimizerShards.segment)
        defer { scratch.deallocate() }
        for (number, stretch) in holdings.stretches.enumerated() {
            try visit(.moving(number))
            guard let holder = holdings.held.holder(of: stretch) else { preconditionFailure("a lost stretch is moved") }
            let part = UnsafeMutableBufferPointer(rebasing: scratch[..<stretch.count])
            let values = UnsafeMutableBufferPointer(rebasing: arena.values[stretch])
            for state in 0..<shards.states {
                shards.read(stretch, state: state, into: part.baseAddress!)
                try ring.broadcast(part, from: holder)
                for piece in pieces { piece.write(stretch, state: state, from: part.baseAddress!) }
            }
            // Whoever holds the stretch has the same bits in it; on others it is of no use yet.
            if decided != nil { try ring.broadcast(values, from: holder) }
        }
        shards.take(pieces, generation: ring.generation)
    }

    /// All ranks take the newest checkpoint. Gives its step, nil if there is none.
    private func goBack() throws -> Int? {
        let step = try takeCheckpoint {
            try writer?.writer.finish()
            return try fallback?()
        }
        guard let step else { return nil }
        decided = nil
        return step
    }

    /// The whole of each state on the first rank, for a checkpoint; no memory on the others. nil where a part of it is lost, and the next
    /// step will go back. A part of a section.
    func gatherStates() throws -> GatheredStates? {
        guard let shards else { return GatheredStates(states: stateArenas, isOwner: false) }
        var held = ShardHoldings(ranges: layout)
        if let holdings = try exchangeHoldings() {
            if holdings.isLost { return nil }
            held = holdings.held
        }
        let gathered = GatheredStates(
            states: (0..<shards.states).map { _ in
                guard isFirst else { return UnsafeMutableBufferPointer(start: nil, count: 0) }
                let memory = UnsafeMutableBufferPointer<Float>.allocate(capacity: arena.count)
                memory.initialize(repeating: 0)
                return memory
            }, isOwner: true)
        let scratch = UnsafeMutableBufferPointer<Float>.allocate(capacity: OptimizerShards.segment)
        defer { scratch.deallocate() }
        for stretch in held.stretches(count: shards.count, wanted: [], limit: OptimizerShards.segment) {
            guard let holder = held.holder(of: stretch) else { preconditionFailure("a lost stretch is saved") }
            let part = UnsafeMutableBufferPointer(rebasing: scratch[..<stretch.count])
            for state in 0..<shards.states {
                shards.read(stretch, state: state, into: part.baseAddress!)
                try ring.broadcast(part, from: holder)
                if isFirst { (gathered.states[state].baseAddress! + stretch.lowerBound).update(from: part.baseAddress!, count: part.count) }
            }
        }
        return gathered
    }
}
