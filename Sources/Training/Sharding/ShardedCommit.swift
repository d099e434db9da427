import Collectives
import Tensors

/// Steps where the optimizer's state is shared out.
///
/// A first section ends with the sum of each chunk at the two ranks that keep its state, and with the decision on the step. In a second one
/// both update the chunk, and all get all weights. From the decision on the step is not given up. A rank has decided only when all have
/// their sums, so that one that was behind lacks nothing but the decision; whoever has not updated its part does; what a dead rank had is
/// with its neighbour.
extension Trainer {
    /// The end of the first section: this rank has its sums, and looks at those of its own chunks for all.
    func surveyShards() throws -> GradientSurvey {
        let shards = shards!
        shards.sums = position
        return try GradientSurvey(
            arena, sums: gradientSums, chunks: shards.layout(worldSize: ring.worldSize).chunks(ofOwner: ring.place),
            over: ring)
    }

    /// The second section.
    ///
    /// - Returns: the values of the first one, or none but a step's number if the run has gone back to a checkpoint.
    func commitShards(_ outcome: StepOutcome, _ clock: inout StepClock) throws -> Ring.Outcome {
        try ring.section {
            let shards = shards!
            try visit(.decision)
            if let holdings = try exchangeHoldings() {
                if holdings.areLost {
                    guard let step = try goBack() else { throw TrainingError.stateLost(step: committedSteps) }
                    return [Double(step)]
                }
                try clock.measure(.optimizer) {
                    // Who has the sums of all that it keeps updates it where it is. If anybody has not, nobody has updated: state was to move first.
                    if holdings.isUpToDate, holdings.positions != ringPositions { _ = try updateShards(outcome, gathers: false) }
                    try move(holdings, to: ringPositions, number: shardNumber)
                }
            }
            let tickets = try clock.measure(.optimizer) { try updateShards(outcome, gathers: true) }
            try visit(.gathering)
            try clock.measure(.exposedReduce) {
                for ticket in tickets { try ring.wait(for: ticket) }
                // Whoever ends the section knows that all have updated what they keep.
                try ring.barrier()
            }
            clock.measure(.optimizer) { endCommit(outcome) }
            precondition(shards.updates == committedSteps)
            decided = nil
            return outcome.values
        }
    }

    /// Updates what this rank keeps, if it has not been, and starts to gather the weights, bucket by bucket. A ring that fails is told when
    /// all is updated.
    private func updateShards(_ outcome: StepOutcome, gathers: Bool) throws -> [Ring.Ticket] {
        let shards = shards!
        let pieces = shards.updates == outcome.step ? shards.pieces : []
        var tickets: [Ring.Ticket] = []
        var failure: (any Error)?
        for (bucket, range) in shards.buckets.enumerated() {
            for piece in pieces where !piece.ranges[bucket].isEmpty {
                let state = (0..<shards.states).map { piece.state($0, bucket: bucket) }
                update(piece.ranges[bucket], state: state, with: outcome)
            }
            guard gathers, failure == nil else { continue }
            do {
                let values = UnsafeMutableBufferPointer(rebasing: arena.values[range])
                if let ticket = try ring.startAllGather(fromCopies: values, grain: OptimizerShards.grain) { tickets.append(ticket) }
            } catch {
                failure = error
            }
        }
        shards.updates = outcome.step + 1
        if let failure { throw failure }
        return tickets
    }

    /// What this rank keeps on this ring.
    var position: ShardReport.Position { .init(worldSize: ring.worldSize, place: ring.place) }
    var shardNumber: Int { ShardReport.Share.number(generation: ring.generation) }

    /// Begins with a state of zeros on this ring, as all ranks do before the first step.
    func beginShards() {
        guard let shards else { return }
        shards.take(shards.empty(position, number: shardNumber), updates: 0)
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
}
