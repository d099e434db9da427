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

    /// Writes a checkpoint of the committed state, on the first rank, after `compareStates`. Every rank must call it.
    ///
    /// - Parameters:
    ///   - recipe: what is needed to build the same model and go on; kept as it is.
    ///   - keep: how many checkpoints to keep.
    ///   - inBackground: return when the state has been copied, and write it while training goes on. The next save, and `finishSaving`,
    ///     wait for it; a failure comes out there, or at the end of the step in which it is seen. Otherwise it is safely on the disk on return.
    /// - Throws: `SharedFailure` with a `CheckpointError`; nothing half-written stays. `TrainingError.diverged`.
    public func save(
        to directory: CheckpointDirectory, recipe: JSONValue, keep: Int = Int.max, inBackground: Bool = false
    ) throws {
        try compareStates()
        try ring.together("writing a checkpoint") {
            try visit(.save)
            // Whoever was first before may still be writing: one process at a time does.
            let before = Result { if !isFirst { try writer?.writer.finish() } }
            try ring.barrier()
            try before.get()
            guard isFirst else { return }
            if writer?.path != directory.path { writer = (directory.path, CheckpointWriter(directory)) }
            let next = nextStep
            try withOptimizerState { optimizerState in
                let state = CheckpointState(
                    step: committedSteps, epoch: next.epoch, stepInEpoch: next.stepInEpoch, recipe: recipe, weights: weights,
                    optimizer: optimizerState, lockstepVersion: Self.lockstepVersion)
                try writer?.writer.save(state, keep: keep)
            }
            if !inBackground { try writer?.writer.finish() }
            try visit(.saved)
        }
    }

    /// Waits for the checkpoint that is being written. Every rank must call it.
    ///
    /// - Throws: `SharedFailure` with a `CheckpointError`.
    public func finishSaving() throws {
        try ring.together("writing a checkpoint") { try writer?.writer.finish() }
    }

    /// Takes the state of a checkpoint that the first rank has found; the other ranks, which give nil, get it over the ring, so that hosts
    /// need no common file system and cannot take different ones.
    public func restore(_ checkpoint: Checkpoint?) throws {
        try restore { checkpoint }
    }

    /// Takes the state of a checkpoint that the first rank finds; all others get it over the ring. `find` is called again, on another rank,
    /// where the first one is lost meanwhile.
    ///
    /// - Throws: `SharedFailure` on every rank, with what `find` throws, `TrainingError.otherModel` or `.otherOptimizer` where the tensors are
    ///   not this trainer's, or `CheckpointError` where they cannot be read. The trainer is of no more use then.
    public func restore(_ find: () throws -> Checkpoint?) throws {
        var failure: (any Error)?
        let failed = try ring.section {
            let loaded = Result { if isFirst, let checkpoint = try find() { try load(checkpoint) } }
            if case .failure(let error) = loaded { failure = error }
            let first = try ring.firstFailure(loaded)
            guard first < 0 else { return [Double(first)] }
            var steps = [Int64(committedSteps)]
            try steps.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: 0) }
            for part in [arena.values] + stateArenas { try ring.broadcast(part, from: 0) }
            var exponents = encodedGrids
            try exponents.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: 0) }
            committedSteps = Int(steps[0])
            comparedSteps = committedSteps
            decodeGrids(exponents)
            return [-1]
        }.values
        if let first = failed.first, first >= 0 {
            throw SharedFailure(rank: Int(first), what: "reading the checkpoint", cause: Int(first) == rank ? failure : nil)
        }
        comparedSteps = committedSteps
    }

    /// Makes sure that all ranks were started with the same thing, by a digest of it.
    ///
    /// - Throws: `TrainingError.ranksDiffer` on every rank, naming the first rank whose digest is not the first one's.
    public func agree(on digest: Digest, what: String) throws {
        let words = digest.bytes.withUnsafeBytes { raw in
            (0..<8).map { Double(raw.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self)) }
        }
        let other = try ring.section {
            let place = ring.place
            var all = [Double](repeating: 0, count: ring.worldSize * words.count)
            all.replaceSubrange((place * words.count)..<((place + 1) * words.count), with: words)
            try all.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
            let first = (0..<ring.worldSize).first { all[($0 * words.count)..<(($0 + 1) * words.count)] != all[0..<words.count] }
            return [first.map { Double(ring.members[$0]) } ?? -1]
        }.values
        if let rank = other.first, rank >= 0 { throw TrainingError.ranksDiffer(rank: Int(rank), what: what) }
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
