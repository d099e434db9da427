import Glibc

/// The checkpoints of one run: where they are, how one is added so that none is ever lost, and which is the newest.
///
///     DIR/checkpoints/step-00001000/weights.safetensors
///                                   optimizer.safetensors
///                                   manifest.json
///
/// A checkpoint is written under a hidden name, `.step-00001000.tmp-PID`: each file is brought to the disk (fsync), the
/// manifest last, then the directory, which is renamed to its final name, and the directory above it. Whenever the
/// process dies, the names without a dot are those of whole checkpoints. Names with a dot are remains, which the next
/// `save` removes once their writer is dead.
///
/// One process writes at a time, which `lock` sees to, and makes one call of `save` at a time, on any thread. Any number may read.
public struct CheckpointDirectory: Sendable {
    /// `DIR/checkpoints`.
    public let path: String

    private let fileSystem: any FileSystem
    /// `DIR`.
    private let run: String

    /// The checkpoints of the run whose directory is `run`. Neither has to exist before the first `save`.
    public init(_ run: String) {
        self.init(run, fileSystem: SystemFileSystem())
    }

    package init(_ run: String, fileSystem: any FileSystem) {
        path = run.utf8.last == UInt8(ascii: "/") ? run + "checkpoints" : run + "/checkpoints"
        self.run = run
        self.fileSystem = fileSystem
    }

    /// Whether the run's directory is there.
    public var exists: Bool { fileExists(run) }

    /// Makes this process the one that writes here until it ends, or finds that it is already, or that its launcher holds the lock for it.
    /// `Trainer.save` does it too. Makes the run's directory.
    ///
    /// - Parameter patience: how long to wait for a writer that has just been lost.
    /// - Returns: that the file system has no locks, where it has none; told once.
    /// - Throws: `CheckpointError.inUse` where another run has the directory, `.notALock`, `.system`.
    public func lock(patience: Duration = .seconds(3)) throws(CheckpointError) -> LackOfLocks? {
        try fileSystem.makeDirectories(run)
        return try OwnLocks.take(run, patience: patience)
    }

    /// Makes the directory and proves that files can be written in it, so that a run learns at its start, and not at its first
    /// checkpoint, that it has nowhere to put them.
    ///
    /// - Throws: `CheckpointError.system` if it cannot be made or written.
    public func prepare() throws(CheckpointError) {
        try fileSystem.makeDirectories(path)
        let probe = "\(path)/\(CheckpointName(step: 0).temporary)"
        try fileSystem.removeTree(probe)
        try fileSystem.call("create the directory", probe) { () throws(SystemError) in try fileSystem.makeDirectory(probe) }
        try fileSystem.removeTree(probe)
    }

    /// Adds a checkpoint. When this returns, it is on the disk and will survive a loss of power.
    ///
    /// - Parameters:
    ///   - state: where the run stands. The memory of its tensors is borrowed until this returns; with a
    ///     `TensorSnapshot` it can be called on another thread while training goes on.
    ///   - keep: how many checkpoints to keep, this one included, at least 1. The oldest beyond that are removed, after
    ///     this one is safe. Those of later steps than this one are left alone.
    /// - Throws: `CheckpointError.system` if anything fails before the checkpoint is safe. What was written is then removed
    ///   again as far as possible, and the earlier checkpoints are as they were. A failure to remove an old checkpoint is
    ///   none of `save`: the next one tries again.
    @discardableResult
    public func save(_ state: CheckpointState, keep: Int = Int.max) throws(CheckpointError) -> Checkpoint {
        precondition(keep >= 1, "keeping \(keep) checkpoints")
        try fileSystem.makeDirectories(path)
        let name = CheckpointName(step: state.step)
        let temporary = "\(path)/\(name.temporary)"
        let final = "\(path)/\(name.final)"
        let manifest: Manifest
        do {
            try fileSystem.removeTree(temporary)
            manifest = try write(state, to: temporary)
            try publish(temporary, as: name)
        } catch {
            try? fileSystem.removeTree(temporary)
            throw error
        }
        try? prune(keep: keep, newest: name)
        return Checkpoint(path: final, manifest: manifest, fileSystem: fileSystem)
    }

    /// The newest whole checkpoint, or nil if there is none, and the damaged ones that are newer, newest first.
    ///
    /// Every file of a checkpoint is read and compared with its digest before the checkpoint is returned.
    /// - Throws: `CheckpointError.system` if the directory exists but cannot be listed.
    public func latest() throws(CheckpointError) -> (checkpoint: Checkpoint?, damaged: [DamagedCheckpoint]) {
        var damaged: [DamagedCheckpoint] = []
        for name in try names().filter(\.isPublished).sorted(by: >) {
            let candidate = "\(path)/\(name.final)"
            do {
                let checkpoint = try Checkpoint(path: candidate, fileSystem: fileSystem)
                guard checkpoint.manifest.step == name.step else {
                    throw CheckpointError.wrongStep(path: candidate, found: checkpoint.manifest.step)
                }
                return (checkpoint, damaged)
            } catch let error as CheckpointError {
                damaged.append(DamagedCheckpoint(path: candidate, error: error))
            } catch {
                preconditionFailure("\(error)")
            }
        }
        return (nil, damaged)
    }

    /// Writes all of a checkpoint into a new directory, down to the disk.
    private func write(_ state: CheckpointState, to directory: String) throws(CheckpointError) -> Manifest {
        try fileSystem.call("create the directory", directory) { () throws(SystemError) in
            try fileSystem.makeDirectory(directory)
        }
        var files: [Manifest.File] = []
        for (name, tensors) in [(Checkpoint.weightsName, state.weights), (Checkpoint.optimizerName, state.optimizer)] {
            let file = try OutputFile(path: "\(directory)/\(name)", fileSystem: fileSystem)
            try SafetensorsWriter.write(tensors, metadata: [:], to: file)
            let written = try file.finish()
            files.append(Manifest.File(name: name, byteCount: written.byteCount, digest: written.digest))
        }
        let manifest = Manifest(
            step: state.step, epoch: state.epoch, stepInEpoch: state.stepInEpoch,
            weightsDigest: Digest.ofWeights(state.weights), recipe: state.recipe, files: files,
            lockstepVersion: state.lockstepVersion, arithmetic: state.arithmetic)
        let file = try OutputFile(path: "\(directory)/\(Checkpoint.manifestName)", fileSystem: fileSystem)
        try file.write(Array(manifest.serialized().utf8))
        _ = try file.finish()
        try fileSystem.synchronizeDirectory(directory)
        return manifest
    }

    /// Gives a complete directory its final name. A checkpoint of the same step steps aside first, under a name that
    /// `latest` knows too, so that there is no moment without it.
    private func publish(_ temporary: String, as name: CheckpointName) throws(CheckpointError) {
        let existing = try names()
        if existing.contains(name) {
            let aside = (1...).lazy.map(name.replaced).first { !existing.contains($0) }!
            try rename("\(path)/\(name.final)", to: "\(path)/\(aside.final)")
        }
        try rename(temporary, to: "\(path)/\(name.final)")
        try fileSystem.synchronizeDirectory(path)
    }

    private func rename(_ old: String, to new: String) throws(CheckpointError) {
        try fileSystem.call("rename", "\(old) to \(new)") { () throws(SystemError) in try fileSystem.rename(old, to: new) }
    }

    /// Removes what is older than the newest `keep`, what was replaced, and the remains of dead writers.
    private func prune(keep: Int, newest: CheckpointName) throws(CheckpointError) {
        let names = try names()
        let kept = Set(names.filter { $0.isPublished && $0.step < newest.step }.map(\.step).sorted(by: >).prefix(keep - 1))
        for name in names where name != newest {
            switch name.kind {
            case .published:
                guard name.step < newest.step, !kept.contains(name.step) else { continue }
                try remove(name)
            case .replaced:
                guard name.step <= newest.step, !kept.contains(name.step) else { continue }
                try remove(name)
            case .temporary(let process):
                if process == ProcessNumber.own || !fileSystem.isAlive(process: process) {
                    try fileSystem.removeTree("\(path)/\(name.final)")
                }
            }
        }
    }

    /// Removes a checkpoint: hidden first, so that one that is half removed does not look like a damaged one.
    private func remove(_ name: CheckpointName) throws(CheckpointError) {
        let hidden = "\(path)/\(CheckpointName(step: name.step).temporary)"
        try fileSystem.removeTree(hidden)
        try rename("\(path)/\(name.final)", to: hidden)
        try fileSystem.removeTree(hidden)
    }

    /// The checkpoints and remains in the directory; other names are none of ours. Empty if there is no directory.
    private func names() throws(CheckpointError) -> [CheckpointName] {
        do {
            return try fileSystem.call("list", path) { () throws(SystemError) in try fileSystem.list(path) }
                .compactMap(CheckpointName.init(parsing:))
        } catch .system(_, _, ENOENT) {
            return []
        }
    }
}
