import Checkpoints
import Collectives
import Processes
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
    ///     wait for it. A failure is told by `warn` and ends nothing: the next save writes a newer state. Otherwise the checkpoint is safely
    ///     on the disk on return.
    /// - Throws: `SharedFailure` with a `CheckpointError`, unless in the background; nothing half-written stays. `TrainingError.diverged`.
    public func save(
        to directory: CheckpointDirectory, recipe: JSONValue, keep: Int = Int.max, inBackground: Bool = false
    ) throws {
        try compareStates()
        try ring.together("writing a checkpoint") {
            try visit(.save)
            // Whoever was first before may still be writing: one process at a time does.
            if !isFirst { endSave() }
            try ring.barrier()
            guard let states = try gatherStates(), isFirst else { return }
            endSave()
            if writer?.path != directory.path { writer = (directory.path, CheckpointWriter(directory)) }
            let next = nextStep
            do {
                try lock(directory)
                try withOptimizerState(states.states) { optimizerState in
                    let state = CheckpointState(
                        step: committedSteps, epoch: next.epoch, stepInEpoch: next.stepInEpoch, recipe: recipe, weights: weights,
                        optimizer: optimizerState, lockstepVersion: Self.lockstepVersion,
                        arithmetic: Arithmetic.version)
                    try writer?.writer.save(state, keep: keep)
                }
            } catch let error as CheckpointError where inBackground {
                failedSave = error
                warnOfFailedSave(step: committedSteps, error)
            }
            if !inBackground {
                try writer?.writer.finish()
                failedSave = nil
            }
            try visit(.saved)
        }
    }

    /// Waits for the checkpoint that is being written. Every rank must call it.
    ///
    /// - Throws: `SharedFailure` with a `CheckpointError` if the last save has failed, told already or not.
    public func finishSaving() throws {
        try ring.together("writing a checkpoint") {
            endSave()
            if let failedSave { throw failedSave }
        }
    }

    /// Waits for the save under way, if there is one, and tells what it failed with.
    func endSave() {
        guard let writer = writer?.writer, writer.isSaving else { return }
        do throws(CheckpointError) {
            try writer.finish()
            failedSave = nil
        } catch {
            failedSave = error
            warnOfFailedSave(step: writer.step ?? committedSteps, error)
        }
    }

    private func warnOfFailedSave(step: Int, _ error: CheckpointError) {
        warn("the checkpoint of step \(step) was not written: \(error); the run goes on, and tries again when the next one is due")
    }

    /// Makes this process the one that writes there.
    private func lock(_ directory: CheckpointDirectory) throws(CheckpointError) {
        if let lack = try directory.lock() { warn(lack.description) }
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
    ///   not this trainer's, `.otherArithmetic` where the run computed by other rules, or `CheckpointError` where they cannot be read. The trainer is of no more use then.
    public func restore(_ find: () throws -> Checkpoint?) throws {
        var failure: (any Error)?
        let values = try ring.section(isPreparation: true) {
            let taken = Result { try takeCheckpoint(find) }
            if case .failure(let error as SharedFailure) = taken {
                failure = error
                return [Double(error.rank)]
            }
            _ = try taken.get()
            return [-1]
        }.values
        if let rank = values.first, rank >= 0 {
            throw failure ?? SharedFailure(rank: Int(rank), what: Self.reading, cause: nil)
        }
        comparedSteps = committedSteps
    }

    /// Refuses a checkpoint of a run that computed by other rules: what went on from it would have the bits of neither.
    ///
    /// - Throws: `TrainingError.otherArithmetic`.
    public static func requireArithmetic(of checkpoint: Checkpoint) throws {
        guard checkpoint.manifest.arithmetic != Arithmetic.version else { return }
        throw TrainingError.otherArithmetic(
            path: checkpoint.path, found: checkpoint.manifest.arithmetic, version: checkpoint.manifest.lockstepVersion)
    }

    private static var reading: String { "reading the checkpoint" }

    /// The body of a section: all ranks take the state of the checkpoint that the first one finds. Gives its step, or nil if there is none,
    /// and then all have the first one's state.
    func takeCheckpoint(_ find: () throws -> Checkpoint?) throws -> Int? {
        var reader: SafetensorsReader?
        let loaded = Result {
            guard isFirst, let checkpoint = try find() else { return -1 }
            reader = try load(checkpoint)
            return checkpoint.manifest.step
        }
        let failed = try ring.firstFailure(loaded)
        guard failed < 0 else {
            var cause: (any Error)?
            if case .failure(let error) = loaded, failed == rank { cause = error }
            throw SharedFailure(rank: failed, what: Self.reading, cause: cause)
        }
        var steps = [Int64(try loaded.get())]
        try steps.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: 0) }
        let step = steps[0] < 0 ? nil : Int(steps[0])
        try ring.broadcast(arena.values, from: 0)
        if shards == nil {
            for part in stateArenas { try ring.broadcast(part, from: 0) }
        } else if let step {
            try takeShards(from: reader, step: step)
        }
        var exponents = encodedGrids
        try exponents.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: 0) }
        if let step { committedSteps = step }
        comparedSteps = committedSteps
        decodeGrids(exponents)
        return step
    }

    /// Each tensor of the optimizer's state goes round, and every rank takes its part of it.
    private func takeShards(from reader: SafetensorsReader?, step: Int) throws {
        guard let shards else { return }
        let new = shards.empty(position, number: shardNumber)
        let largest = arena.parameters.map(\.count).max() ?? 0
        let scratch = allocateFloats(largest, for: "a checkpoint's tensor")
        defer { scratch.deallocate() }
        for (number, name) in optimizer.stateNames.enumerated() {
            for parameter in arena.parameters where !parameter.isStatistic {
                let tensor = UnsafeMutableBufferPointer(rebasing: scratch[..<parameter.count])
                try reader?.read("\(name).\(parameter.name)", into: UnsafeMutableRawBufferPointer(tensor))
                try ring.broadcast(tensor, from: 0)
                guard let base = tensor.baseAddress else { continue }
                for piece in new.pieces { piece.write(parameter.range, state: number, from: base) }
            }
        }
        shards.take(new, updates: step)
    }

    /// Makes sure that all ranks were started with the same thing, by a digest of it.
    ///
    /// - Throws: `TrainingError.ranksDiffer` on every rank, naming the first rank whose digest is not the first one's.
    public func agree(on digest: Digest, what: String) throws {
        if let rank = try ranksThatDiffer(in: digest).first { throw TrainingError.ranksDiffer(rank: rank, what: what) }
    }

    /// The ranks whose digest is not the first one's: on every rank the same.
    public func ranksThatDiffer(in digest: Digest) throws -> [Int] {
        let words = digest.bytes.withUnsafeBytes { raw in
            (0..<8).map { Double(raw.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self)) }
        }
        return try ring.section(isPreparation: true) {
            let place = ring.place
            var all = [Double](repeating: 0, count: ring.worldSize * words.count)
            all.replaceSubrange((place * words.count)..<((place + 1) * words.count), with: words)
            try all.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
            let others = (0..<ring.worldSize).filter { all[($0 * words.count)..<(($0 + 1) * words.count)] != all[0..<words.count] }
            return others.map { Double(ring.members[$0]) }
        }.values.map { Int($0) }
    }

    private static var gridName: String { "grid.limit_exponents" }

    /// The optimizer's tensors as a checkpoint stores them: which state, of which parameter.
    private var optimizerTensors: [(info: TensorInfo, state: Int, parameter: Parameter)] {
        optimizer.stateNames.enumerated().flatMap { number, name in
            arena.parameters.filter { !$0.isStatistic }.map { parameter in
                (TensorInfo(name: "\(name).\(parameter.name)", type: .float32, shape: parameter.shape), number, parameter)
            }
        }
    }

    private var gridInfo: TensorInfo { TensorInfo(name: Self.gridName, type: .int32, shape: [arena.parameters.count]) }

    /// Views of all that the optimizer keeps, and of the grids, as a checkpoint stores them.
    ///
    /// - Parameter states: the whole of each state.
    private func withOptimizerState<Result>(
        _ states: [UnsafeMutableBufferPointer<Float>], _ body: ([StoredTensor]) throws -> Result
    ) rethrows -> Result {
        let tensors = optimizerTensors.map { tensor in
            StoredTensor(
                info: tensor.info,
                bytes: UnsafeRawBufferPointer(
                    start: states[tensor.state].baseAddress! + tensor.parameter.offset, count: tensor.parameter.count * 4))
        }
        guard let grids else { return try body(tensors) }
        let exponents = grids.map { Int32($0.limitExponent) }
        return try exponents.withUnsafeBytes { bytes in try body(tensors + [StoredTensor(info: gridInfo, bytes: bytes)]) }
    }

    /// Takes weights and grids, and the optimizer's state unless that is shared out. Gives where the latter is.
    private func load(_ checkpoint: Checkpoint) throws -> SafetensorsReader {
        try Self.requireArithmetic(of: checkpoint)
        let stored = try checkpoint.weights()
        if let difference = stored.difference(from: weights.map(\.info)) {
            throw TrainingError.otherModel(path: checkpoint.path, difference: difference)
        }
        let state = try checkpoint.optimizer()
        let tensors = optimizerTensors
        let expected = tensors.map(\.info) + (recipe.reduction == .exact ? [gridInfo] : [])
        if let difference = state.difference(from: expected) {
            throw TrainingError.otherOptimizer(path: checkpoint.path, difference: difference)
        }
        for parameter in arena.parameters {
            try stored.read(parameter.name, into: UnsafeMutableRawBufferPointer(start: parameter.values, count: parameter.count * 4))
        }
        for (info, number, parameter) in tensors where shards == nil {
            let place = stateArenas[number].baseAddress! + parameter.offset
            try state.read(info.name, into: UnsafeMutableRawBufferPointer(start: place, count: parameter.count * 4))
        }
        if recipe.reduction == .exact {
            var exponents = [Int32](repeating: 0, count: arena.parameters.count)
            try exponents.withUnsafeMutableBytes { try state.read(Self.gridName, into: $0) }
            decodeGrids(exponents)
        }
        return state
    }
}
