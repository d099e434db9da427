import CProcess
import Glibc
import Synchronization

/// Saves a run's checkpoints on a thread of its own, one at a time, while training goes on.
///
/// The state is copied first. That copy is all that a caller waits for, unless the save before has not ended yet. What goes wrong
/// comes out at the next `finish`. Used by one thread; with the last reference it waits for the save under way.
public final class CheckpointWriter {
    /// What the thread works on, and what came of it.
    private final class Job: Sendable {
        let save: @Sendable () throws(CheckpointError) -> Void
        let outcome = Mutex<Result<Void, CheckpointError>?>(nil)

        init(_ save: @escaping @Sendable () throws(CheckpointError) -> Void) {
            self.save = save
        }

        func run() {
            let result = Result { () throws(CheckpointError) in try save() }
            outcome.withLock { $0 = result }
        }
    }

    private let directory: CheckpointDirectory
    private var underWay: (thread: pthread_t, job: Job)?
    /// The step of the save begun last.
    public private(set) var step: Int?

    /// Less than training's, so that on a busy machine the steps go on and the checkpoint waits.
    private static let niceness: Int32 = 10

    /// A writer for one run's directory, whose thread is started with the first save.
    public init(_ directory: CheckpointDirectory) {
        self.directory = directory
    }

    deinit {
        try? finish()
    }

    /// Waits for the save before, copies the state, and starts to save it as `CheckpointDirectory.save` does.
    ///
    /// - Throws: what the save before has failed with; this one is then not begun. `CheckpointError.system` if there can be no
    ///   thread.
    public func save(_ state: CheckpointState, keep: Int = Int.max) throws(CheckpointError) {
        try finish()
        let weights = TensorSnapshot(copying: state.weights)
        let optimizer = TensorSnapshot(copying: state.optimizer)
        let (step, epoch, stepInEpoch) = (state.step, state.epoch, state.stepInEpoch)
        let (recipe, version, arithmetic, directory) = (state.recipe, state.lockstepVersion, state.arithmetic, directory)
        let job = Job { () throws(CheckpointError) in
            try weights.withTensors { (weights) throws(CheckpointError) in
                try optimizer.withTensors { (optimizer) throws(CheckpointError) in
                    let copy = CheckpointState(
                        step: step, epoch: epoch, stepInEpoch: stepInEpoch, recipe: recipe, weights: weights, optimizer: optimizer,
                        lockstepVersion: version, arithmetic: arithmetic)
                    _ = try directory.save(copy, keep: keep)
                }
            }
        }
        self.step = step
        var thread = pthread_t()
        let code = lockstep_thread_create(
            &thread, 0,
            { argument in
                // SAFETY: balances the passRetained below; the thread keeps the job alive while it runs.
                let job = Unmanaged<Job>.fromOpaque(argument!).takeRetainedValue()
                // On Linux a niceness is a thread's own.
                setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, CheckpointWriter.niceness)
                job.run()
                return nil
            }, Unmanaged.passRetained(job).toOpaque())
        guard code == 0 else {
            Unmanaged.passUnretained(job).release()
            throw .system(operation: "start a thread to write", path: directory.path, errno: code)
        }
        underWay = (thread, job)
    }

    /// Whether a save has begun whose outcome `finish` has not told yet.
    public var isSaving: Bool { underWay != nil }

    /// Whether the save under way has failed already: `finish` says why.
    public var hasFailed: Bool {
        underWay?.job.outcome.withLock { outcome in
            if case .failure? = outcome { true } else { false }
        } ?? false
    }

    /// Waits until the save under way, if there is one, is safely on the disk, and throws why it is not.
    public func finish() throws(CheckpointError) {
        guard let (thread, job) = underWay else { return }
        underWay = nil
        pthread_join(thread, nil)
        guard let outcome = job.outcome.withLock({ $0 }) else { preconditionFailure("a save has ended without an outcome") }
        try outcome.get()
    }
}
