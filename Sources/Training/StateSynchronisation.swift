import Collectives
import Tensors

extension Trainer {
    /// Gives all members the state of the one at place `source`: weights and statistics, optimizer state, grids, committed steps.
    ///
    /// Called in the forming of a ring, on all members alike, where some are behind by a section or have just come. Nothing changes
    /// before the last operation has ended, so that the loss of `source` on the way leaves everybody's state as it was.
    func synchronise(from source: Int) throws {
        var committed = [Int64(committedSteps)]
        try committed.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: source) }
        let isOther = !hasState || Int(committed[0]) != committedSteps
        var needed: [Int32] = [isOther ? 1 : 0]
        try needed.withUnsafeMutableBufferPointer { try ring.allReduce($0, .max) }
        var exponents = encodedGrids
        try exponents.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: source) }
        if needed[0] != 0 {
            try copyArenas(from: source, isOther: isOther)
        }
        decodeGrids(exponents)
        committedSteps = Int(committed[0])
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
            received.append(.allocate(capacity: memory.count))
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
