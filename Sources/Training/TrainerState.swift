import Checkpoints
import Collectives
import Tensors

extension Trainer {
    /// The version that checkpoints are marked with.
    public static var lockstepVersion: String { "0.1.0" }

    /// Views of the weights, by parameter name; valid until the next step.
    public var weights: [StoredTensor] {
        arena.parameters.map { parameter in
            StoredTensor(
                name: parameter.name, type: .float32, shape: parameter.shape,
                bytes: UnsafeRawBufferPointer(start: parameter.values, count: parameter.count * 4))
        }
    }

    /// The SHA-256 of the weights, which depends on nothing else: what `weights sha256 HEX` shows.
    public var weightsDigest: Digest { Digest.ofWeights(weights) }

    /// Writes a checkpoint of the committed state, on rank 0; on other ranks nothing is done. On return it is safely on the disk.
    ///
    /// - Parameter recipe: what is needed to build the same model and go on; kept as it is.
    /// - Throws: `CheckpointError`; nothing half-written stays.
    public func save(to directory: CheckpointDirectory, recipe: JSONValue, keep: Int = Int.max) throws {
        guard rank == 0 else { return }
        let next = nextStep
        try withOptimizerState { optimizerState in
            let state = CheckpointState(
                step: committedSteps, epoch: next.epoch, stepInEpoch: next.stepInEpoch, recipe: recipe, weights: weights,
                optimizer: optimizerState, lockstepVersion: Self.lockstepVersion)
            try directory.save(state, keep: keep)
        }
    }

    /// Takes the state of a checkpoint that rank 0 has found; the other ranks, which give nil, get it over the ring, so that hosts need
    /// no common file system and cannot take different ones.
    ///
    /// - Throws: `TrainingError.otherModel` and `.otherOptimizer` where the tensors are not this trainer's, `CheckpointError` where they
    ///   cannot be read, `CollectiveError`. The trainer is of no more use then.
    public func restore(_ checkpoint: Checkpoint?) throws {
        if let checkpoint { try load(checkpoint) }
        var steps = [Int64(committedSteps)]
        try steps.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: 0) }
        committedSteps = Int(steps[0])
        for part in [arena.values] + stateArenas { try ring.broadcast(part, from: 0) }
        guard recipe.reduction == .exact else { return }
        var exponents = (grids ?? []).map { Int32($0.limitExponent) }
        if exponents.isEmpty { exponents = [Int32](repeating: 0, count: arena.parameters.count) }
        try exponents.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: 0) }
        grids = exponents.map { Grid(limitExponent: Int($0), parts: partsPerStep) }
    }

    /// Makes sure that all ranks were started with the same thing, by a digest of it.
    ///
    /// - Throws: `TrainingError.ranksDiffer` on every rank, naming the first rank whose digest is not rank 0's.
    public func agree(on digest: Digest, what: String) throws {
        let words = digest.bytes.withUnsafeBytes { raw in
            (0..<8).map { Double(raw.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self)) }
        }
        var all = [Double](repeating: 0, count: worldSize * words.count)
        all.replaceSubrange((rank * words.count)..<((rank + 1) * words.count), with: words)
        try all.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
        for other in 0..<worldSize where all[(other * words.count)..<((other + 1) * words.count)] != all[0..<words.count] {
            throw TrainingError.ranksDiffer(rank: other, what: what)
        }
    }

    private static var gridName: String { "grid.limit_exponents" }

    /// Views of all that the optimizer keeps, and of the grids, as a checkpoint stores them.
    private func withOptimizerState<Result>(_ body: ([StoredTensor]) throws -> Result) rethrows -> Result {
        var tensors: [StoredTensor] = []
        for (name, state) in zip(optimizer.stateNames, stateArenas) {
            for parameter in arena.parameters where !parameter.isStatistic {
                tensors.append(
                    StoredTensor(
                        name: "\(name).\(parameter.name)", type: .float32, shape: parameter.shape,
                        bytes: UnsafeRawBufferPointer(start: state.baseAddress! + parameter.offset, count: parameter.count * 4)))
            }
        }
        guard let grids else { return try body(tensors) }
        let exponents = grids.map { Int32($0.limitExponent) }
        return try exponents.withUnsafeBytes { bytes in
            try body(tensors + [StoredTensor(name: Self.gridName, type: .int32, shape: [exponents.count], bytes: bytes)])
        }
    }

    private func load(_ checkpoint: Checkpoint) throws {
        let stored = try checkpoint.weights()
        if let difference = stored.difference(from: weights.map(\.info)) {
            throw TrainingError.otherModel(path: checkpoint.path, difference: difference)
        }
        let state = try checkpoint.optimizer()
        if recipe.reduction == .exact {
            grids = arena.parameters.map { _ in Grid(limitExponent: 0, parts: partsPerStep) }
        }
        if let difference = withOptimizerState({ state.difference(from: $0.map(\.info)) }) {
            throw TrainingError.otherOptimizer(path: checkpoint.path, difference: difference)
        }
        for parameter in arena.parameters {
            try stored.read(parameter.name, into: UnsafeMutableRawBufferPointer(start: parameter.values, count: parameter.count * 4))
            for (name, memory) in zip(optimizer.stateNames, stateArenas) where !parameter.isStatistic {
                try state.read(
                    "\(name).\(parameter.name)",
                    into: UnsafeMutableRawBufferPointer(start: memory.baseAddress! + parameter.offset, count: parameter.count * 4))
            }
        }
        if recipe.reduction == .exact {
            var exponents = [Int32](repeating: 0, count: arena.parameters.count)
            try exponents.withUnsafeMutableBytes { try state.read(Self.gridName, into: $0) }
            grids = exponents.map { Grid(limitExponent: Int($0), parts: partsPerStep) }
        }
        committedSteps = checkpoint.manifest.step
    }
}
