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
        throw TrainingError.diverged(
            step: committedSteps, ranks: found.dropFirst().map { Int($0) }, tensor: stateTensors[Int(tensor)].name,
            sameAtStep: comparedSteps)
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
        guard let tensor = own.indices.first(where: { extremes[$0] != ~extremes[own.count + $0] }) else { return [] }
        var digests = [Int64](repeating: 0, count: ring.worldSize)
        digests[ring.place] = own[tensor]
        try digests.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
        return [Double(tensor)] + minority(digests).map { Double(ring.members[$0]) }
    }
}

/// The places that do not have what more than half have; all of them, where no more than half agree.
package func minority<Value: Hashable>(_ values: [Value]) -> [Int] {
    let counts = values.reduce(into: [:]) { $0[$1, default: 0] += 1 }
    let common = counts.first { $0.value * 2 > values.count }?.key
    return values.indices.filter { values[$0] != common }
}
