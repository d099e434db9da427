import CTensorKernels
import Collectives
import Tensors

extension Trainer {
    /// Compares all ranks' weights and optimizer state, by a digest of 64 bits a tensor: they are the same bits as long as every
    /// computer does what it should. `step` does it every `compareEvery` steps, and `save` before it writes.
    ///
    /// - Throws: `TrainingError.diverged` on every rank, naming those that differ from the most and the first tensor in which they do.
    public func compareStates() throws {
        guard comparedSteps != committedSteps else { return }
        let found = try ring.section {
            try visit(.comparison)
            return try differences()
        }.values
        guard let tensor = found.first else {
            comparedSteps = committedSteps
            return
        }
        let names = stateTensors.map(\.name) + optimizer.stateNames.map { "part of the optimizer's \($0)" }
        throw TrainingError.diverged(
            step: committedSteps, ranks: found.dropFirst().map { Int($0) }, tensor: names[Int(tensor)], sameAtStep: comparedSteps)
    }

    /// Every tensor that all ranks have alike, under the name by which a checkpoint knows it.
    private var stateTensors: [(name: String, start: UnsafePointer<Float>, count: Int)] {
        var tensors: [(String, UnsafePointer<Float>, Int)] = arena.parameters.map { ($0.name, UnsafePointer($0.values), $0.count) }
        for (name, state) in zip(optimizer.stateNames, stateArenas) {
            for parameter in arena.parameters where !parameter.isStatistic {
                tensors.append(("\(name).\(parameter.name)", UnsafePointer(state.baseAddress! + parameter.offset), parameter.count))
            }
        }
        return tensors
    }

    /// The first tensor that is not the same everywhere, and the ranks that are in the wrong; empty if there is none.
    private func differences() throws -> [Double] {
        let own = stateTensors.map { Int64(bitPattern: tensor_digest($0.start, $0.count)) }
        // The largest of all digests, and of all their complements: the second is the complement of the smallest.
        var extremes = own + own.map { ~$0 }
        try extremes.withUnsafeMutableBufferPointer { try ring.allReduce($0, .max) }
        guard let tensor = own.indices.first(where: { extremes[$0] != ~extremes[own.count + $0] }) else {
            return try shardDifferences(after: own.count)
        }
        var digests = [Int64](repeating: 0, count: ring.worldSize)
        digests[ring.place] = own[tensor]
        try digests.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
        return [Double(tensor)] + minority(digests).map { Double(ring.members[$0]) }
    }

    /// Where the optimizer's state is shared out: every part with its copy. Who of the two is in the wrong is not to be told.
    private func shardDifferences(after tensors: Int) throws -> [Double] {
        guard let shards, shards.number == shardNumber, ring.worldSize > 1 else { return [] }
        let worldSize = ring.worldSize
        func index(owner: Int, state: Int, isCopy: Bool) -> Int { (owner * shards.states + state) * 2 + (isCopy ? 1 : 0) }
        var digests = [Int64](repeating: 0, count: worldSize * shards.states * 2)
        for piece in shards.pieces {
            for state in 0..<shards.states {
                digests[index(owner: piece.owner, state: state, isCopy: piece.owner != ring.place)] =
                    Int64(bitPattern: tensor_digest(piece.state(state), piece.count))
            }
        }
        try digests.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
        for owner in 0..<worldSize {
            for state in 0..<shards.states
            where digests[index(owner: owner, state: state, isCopy: false)] != digests[index(owner: owner, state: state, isCopy: true)] {
                return [Double(tensors + state)] + [owner, (owner + 1) % worldSize].map { Double(ring.members[$0]) }.sorted()
            }
        }
        return []
    }
}

/// The places that do not have what more than half have; all of them, where no more than half agree.
package func minority<Value: Hashable>(_ values: [Value]) -> [Int] {
    let counts = values.reduce(into: [:]) { $0[$1, default: 0] += 1 }
    let common = counts.first { $0.value * 2 > values.count }?.key
    return values.indices.filter { values[$0] != common }
}
