import Collectives
import Processes
import Tensors

extension Trainer {
    /// Gives all members the state of the one at place `source`: weights and statistics, optimizer state, grids, committed steps.
    ///
    /// Called in the forming of a ring, on all members alike, where some are behind by a section or have just come. Nothing changes
    /// before the last operation has ended, so that the loss of `source` on the way leaves everybody's state as it was.
    ///
    /// Where the optimizer's state is shared out, it stays where it is: `commitShards` moves it. There the source may have decided a step
    /// that it has not committed; then all who are behind have their sums.
    func synchronise(from source: Int) throws {
        var position = [Int64(committedSteps), decided == nil ? 0 : 1]
        try position.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: source) }
        let lacksState = !hasState || Int(position[0]) != committedSteps
        var isNeeded: [Int32] = [lacksState ? 1 : 0]
        try isNeeded.withUnsafeMutableBufferPointer { try ring.allReduce($0, .max) }
        var exponents = encodedGrids
        try exponents.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: source) }
        if isNeeded[0] != 0 { try copyArenas(from: source, isOther: lacksState) }
        decodeGrids(exponents)
        committedSteps = Int(position[0])
        if position[1] == 0 { decided = nil }
        hasState = true
    }

    /// Those who have the same bits already receive them over their own; the others beside theirs, and take them when they have all.
    private func copyArenas(from source: Int, isOther: Bool) throws {
        let arenas = [arena.values] + stateArenas
        guard isOther else {
            for (index, memory) in arenas.enumerated() {
                try visit(.synchronisation(index))
                try ring.broadcast(memory, from: source)
            }
            return
        }
        var received: [UnsafeMutableBufferPointer<Float>] = []
        defer { for memory in received { memory.deallocate() } }
        for (index, memory) in arenas.enumerated() {
            received.append(allocateFloats(memory.count, for: "the state of another worker"))
            try visit(.synchronisation(index))
            try ring.broadcast(received[index], from: source)
        }
        // SAFETY: each was allocated with the size of its arena, and filled by the broadcast.
        for (memory, copy) in zip(arenas, received) where memory.count > 0 {
            memory.baseAddress!.update(from: copy.baseAddress!, count: memory.count)
        }
    }

    /// The grids as numbers, as many as there are parameters, also where there are no grids yet.
    var encodedGrids: [Int32] {
        grids?.map { Int32($0.limitExponent) } ?? [Int32](repeating: .min, count: arena.parameters.count)
    }

    func decodeGrids(_ exponents: [Int32]) {
        grids = exponents.contains(.min) || recipe.reduction != .exact
            ? nil : exponents.map { Grid(limitExponent: Int($0), parts: partsPerStep) }
    }
}
