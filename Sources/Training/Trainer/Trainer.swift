import Checkpoints
import Collectives
import Datasets
import Glibc
import NeuralNetworks
import Processes
import Optimizers
import RawText
import Telemetry
import Tensors

/// Trains one model on the workers of a job: each takes its share of a step's micro-batches, the ring sums the gradients, and
/// every worker takes the same optimizer step.
///
/// A step, for every rank alike:
///
///     for each micro-batch of this rank's share: samples by (seed, epoch, position), forward, backward, add to the exact sum
///     the ring's sum of the gradients, of the weights, of the losses
///     gradient = sum / weight, clipped; optimizer step; commit
///
/// A step commits on every rank or on none. Where a worker is lost in it, the others keep what they have summed, form a ring of
/// their own, compute what went with the dead and commit: the same bits (`Ring.section`).
///
/// Confined to one thread, the one that made it; owns the model's memory.
public final class Trainer<Data: Dataset> {
    public typealias LossFunction = (_ batch: Data.Batch, _ tape: Tape) throws -> Loss

    public let recipe: Recipe
    public let arena: ParameterArena
    /// Steps that have been committed.
    public internal(set) var committedSteps = 0
    /// Steps of the whole run.
    public let totalSteps: Int
    /// The ranks compare digests of their state every so many steps.
    public var compareEvery = 100
    /// Who computes which micro-batch. The bits do not depend on it.
    public var assignment = MicroBatchAssignment.fixed

    let ring: Ring
    let optimizer: any Optimizer
    /// The whole of each state, where it is not shared out.
    private(set) lazy var stateArenas: [UnsafeMutableBufferPointer<Float>] = {
        guard shards == nil else { return [] }
        hasStateArenas = true
        return optimizer.stateNames.map { _ in
            let memory = allocateFloats(arena.count, for: "optimizer state")
            memory.initialize(repeating: 0)
            return memory
        }
    }()
    private var hasStateArenas = false
    /// Instead of them, this rank's part.
    private(set) var shards: OptimizerShards?
    /// What the ranks have decided to commit, and have not all committed: only where the state is shared out.
    var decided: StepOutcome?
    /// One for each parameter; nil for the float32 sum, and until the first step has found them.
    var grids: [Grid]?

    let data: Data
    let plan: StepPlan
    private let order: SampleOrder
    private let loss: LossFunction
    /// Instead of `loss`, where the loss couples the samples of the global batch.
    var globalLoss: GlobalLoss<Data.Batch>?
    var preparedLoss: GlobalLoss<Data.Batch>.Prepared?
    let tape: Tape
    let buckets: BucketPlan
    var reducer: GradientReducer?
    /// Grows when a step is redone on a coarser grid.
    public internal(set) var redoneSteps = 0
    /// Whether a rank was asked to stop (`StopRequest`), or the coordinator wants it: known to all ranks with the step just
    /// committed.
    public internal(set) var isStopRequested = false

    /// Where each rank keeps a part of the optimizer's state, and both that have one are lost: finds the checkpoint to go on from. Called on the
    /// first rank.
    public var fallback: (() throws -> Checkpoint?)?
    /// The step of the checkpoint that the run has gone back to, until it is asked for.
    var wentBackTo: Int?

    /// The generation for which the ranks last told each other what they hold.
    var plannedGeneration = -1
    /// Whether this rank has the state of the run: a newcomer does not, until it is let in.
    var hasState: Bool
    /// Whether the ranks agreed, with the step committed last, to form the ring anew.
    var isReformAgreed = false
    /// The last step after which the ranks' states were found to be the same.
    var comparedSteps = 0
    var writer: (path: String, writer: CheckpointWriter)?
    /// Why the save that ended last has failed; nil if it has not.
    var failedSave: CheckpointError?
    /// Takes what is to be said without an end of the run, a line at a time: a checkpoint that could not be written. Unless set, it goes to
    /// standard error.
    public var warn: (String) -> Void = { text in
        let line = RawText.bytes("lockstep: \(text)\n")
        _ = write(STDERR_FILENO, line, line.count)
    }
    private var slowness = SlownessJudge()
    private var slowest: (rank: Int, score: Double)?
    private var slowForGood: (rank: Int, score: Double)?
    /// For tests: fails where it is told to, as a death would.
    package var faults: FaultInjector?

    /// Lays out the model's memory and draws its first weights.
    ///
    /// - Parameters:
    ///   - loss: the forward pass and the loss of one micro-batch; must be a function of its arguments and the model only.
    /// - Throws: `DatasetError` if the batch sizes make no sense for the data.
    public init(
        model: some Module, data: Data, optimizer: any Optimizer, recipe: Recipe, ring: Ring, loss: @escaping LossFunction
    ) throws {
        self.recipe = recipe
        self.data = data
        self.optimizer = optimizer
        self.ring = ring
        self.loss = loss
        plan = try StepPlan(count: data.count, globalBatch: recipe.globalBatch, microBatch: recipe.microBatch)
        order = SampleOrder(seed: recipe.seed, count: data.count)
        totalSteps =
            switch recipe.length {
            case .steps(let steps): steps
            case .epochs(let epochs): plan.steps(epochs: epochs)
            }
        let arena = ParameterArena(model, seed: recipe.seed)
        self.arena = arena
        buckets = BucketPlan(offsets: arena.parameters.map(\.offset), trainedEnd: arena.trainedRange.upperBound, count: arena.count)
        tape = Tape(parameters: arena, precision: recipe.precision)
        hasState = !ring.isNewcomer
        ring.synchronise = { [weak self] source in try self?.synchronise(from: source) }
    }

    deinit {
        endSave()
        guard hasStateArenas else { return }
        for arena in stateArenas { UnsafeMutableRawPointer(arena.baseAddress!).deallocate() }
    }

    /// The micro-batches of a full step: how many partial gradients a grid must have room for.
    var partsPerStep: Int { plan.step(0).microBatchCount }

    public var rank: Int { ring.rank }
    public var worldSize: Int { ring.worldSize }
    /// Whether this rank is the one that prints, and writes metrics and checkpoints. Another may be after the loss of a worker.
    public var isFirst: Bool { ring.isFirst && !ring.isNewcomer }
    public var isDone: Bool { committedSteps >= totalSteps }
    /// Where the next step takes its data.
    public var nextStep: StepPlan.Step { plan.step(committedSteps) }

    /// Each rank keeps a part of the optimizer's state from now on, and a copy of another rank's part: 2 / n of it for n ranks. The bits are the
    /// same. Before the first step, and before `restore`; on every rank.
    public func shardOptimizer() {
        precondition(!hasStateArenas && reducer == nil, "the optimizer's state is shared out before there is any")
        shards = OptimizerShards(buckets: Array(buckets.trained), states: optimizer.stateNames.count)
    }

    /// Bytes of optimizer state that this rank keeps.
    public var optimizerStateBytes: Int {
        shards?.byteCount ?? (hasStateArenas ? optimizer.stateNames.count * arena.count * 4 : 0)
    }

    /// Where the run has gone back to the checkpoint of an earlier step, as optimizer state was lost: that step. Told once.
    public func takeSetback() -> Int? {
        defer { wentBackTo = nil }
        return wentBackTo
    }

    /// A worker that has just been found to be slow for good, and by how many times the median; each is told once.
    public func takeSlowWorker() -> (rank: Int, score: Double)? {
        defer { slowForGood = nil }
        return slowForGood
    }

    /// Runs until the last step has been committed; `observe` is called after each.
    ///
    /// The first SIGINT, SIGTERM or SIGUSR1 to any rank is a request to stop: all ranks end the step at hand and throw `RunStopped`.
    public func run(observe: (StepMetrics) throws -> Void = { _ in }) throws {
        StopRequest.listen()
        while !isDone {
            try observe(try step())
            if isStopRequested, !isDone { throw RunStopped(step: committedSteps) }
        }
    }

    /// Runs one step and commits it.
    ///
    /// - Throws: `TrainingError` where numbers stop being numbers or ranks have come to differ, what the data set and the loss throw,
    ///   and what `Ring.section` does. Weights, optimizer state and `committedSteps` are then those of before the step, but for
    ///   `.diverged`.
    public func step() throws -> StepMetrics {
        try enter()
        if isReformAgreed, ring.progressAtFormation < ring.progress {
            try handOverShards()
            try ring.reform()
        }
        isReformAgreed = false
        var step = plan.step(committedSteps)
        let bytesBefore = ring.bytesSent
        var clock = StepClock()
        var outcome: StepOutcome
        while true {
            let section = try attempt(step, &clock)
            guard let read = readOutcome(section.values), read.step == step.number else {
                preconditionFailure("a step's section gave another's values")
            }
            outcome = read
            try judge(outcome.control, step)
            judgeSlowness(outcome, wasBehind: section.wasBehind)
            guard outcome.isCommitted else {
                redoneSteps += 1
                continue
            }
            if shards == nil { break }
            decided = outcome
            if readOutcome(try commitShards(outcome, &clock).values) != nil { break }
            // Both ranks that had a part of the state are lost: from a checkpoint on it goes again.
            wentBackTo = committedSteps
            comparedSteps = committedSteps
            step = plan.step(committedSteps)
        }
        clock.end()
        take(outcome)
        if writer?.writer.hasFailed == true { endSave() }
        if committedSteps % compareEvery == 0 { try compareStates() }
        return metrics(outcome, clock, bytesSent: ring.bytesSent - bytesBefore)
    }

    /// Lets this worker in, if it came while the job was running: it waits for a boundary, and then has the others' state. Otherwise
    /// there is nothing to do. `step` does it too.
    ///
    /// - Returns: what is known of the step before, if this worker came in right behind one.
    @discardableResult
    public func enter() throws -> StepMetrics? {
        guard ring.isNewcomer else { return nil }
        let values = try ring.enter()
        guard let outcome = readOutcome(values), outcome.isCommitted, outcome.step + 1 == committedSteps else { return nil }
        take(outcome)
        var clock = StepClock()
        clock.end()
        return metrics(outcome, clock, bytesSent: 0)
    }

    // MARK: The parts of a step

    /// What all ranks have learnt with a step.
    private func take(_ outcome: StepOutcome) {
        isReformAgreed = outcome.control.isRequested(.reform)
        isStopRequested = outcome.control.isRequested(.stop)
    }

    /// The times are of the ring on which the step's section ended: of this one, unless this rank was behind.
    private func judgeSlowness(_ outcome: StepOutcome, wasBehind: Bool) {
        slowest = nil
        guard !wasBehind else { return }
        slowness.take(outcome.control.millisecondsPerMicroBatch, generation: ring.generation)
        slowest = slowness.slowest.map { (ring.members[$0.place], $0.score) }
        if let news = slowness.takeNews() { slowForGood = (ring.members[news.place], news.score) }
    }

    private func readOutcome(_ values: [Double]) -> StepOutcome? {
        StepOutcome(values: values, microBatches: { plan.step($0).microBatchCount }, parameters: arena.parameters.count)
    }

    private func metrics(_ outcome: StepOutcome, _ clock: StepClock, bytesSent: UInt64) -> StepMetrics {
        let step = plan.step(committedSteps - 1)
        let items = step.positions.count * data.itemsPerSample
        return StepMetrics(
            step: committedSteps, loss: outcome.control.lossSum / outcome.control.weight,
            learningRate: recipe.schedule.learningRate(atStep: step.number), gradientNorm: outcome.gradientNorm,
            itemsPerSecond: Double(items) / clock.total.seconds, stepMilliseconds: clock.total.milliseconds,
            computeMilliseconds: clock[.compute].milliseconds, exposedReduceMilliseconds: clock[.exposedReduce].milliseconds,
            optimizerMilliseconds: clock[.optimizer].milliseconds, bytesSent: Int(bytesSent), worldSize: outcome.worldSize,
            time: StepClock.secondsSince1970, slowestRank: slowest?.rank, slowestScore: slowest?.score)
    }

    /// Forward and backward of one micro-batch.
    ///
    /// - Parameters:
    ///   - beforeBackward: called when the forward pass has ended.
    ///   - gradientReady: gets each parameter's gradient, of the loss's sum; its memory is given back on return.
    @discardableResult
    func pass(
        _ step: StepPlan.Step, microBatch id: Int, beforeBackward: () -> Void = {},
        gradientReady: (Parameter, UnsafeMutableBufferPointer<Float>) -> Void
    ) throws -> (weight: Double, lossSum: Double) {
        if let globalLoss {
            return try globalPass(
                globalLoss, step, microBatch: id, beforeBackward: beforeBackward, gradientReady: gradientReady)
        }
        let loss = try loss(beginPass(step, microBatch: id), tape)
        let sum = Double(loss.sum.item)
        beforeBackward()
        tape.backward(from: loss, gradientReady: gradientReady)
        return (loss.weight, sum)
    }

    /// The batch of a micro-batch, and the tape ready for its pass.
    func beginPass(_ step: StepPlan.Step, microBatch id: Int) throws -> Data.Batch {
        let samples = order.samples(epoch: step.epoch, positions: step.positions(ofMicroBatch: id))
        let batch = try data.batch(epoch: step.epoch, samples)
        tape.begin(Pass(seed: recipe.seed, step: step.number, microBatch: id, isTraining: true))
        return batch
    }

    private func judge(_ control: StepControl, _ step: StepPlan.Step) throws {
        if let fault = control.fault {
            guard let parameter = fault.parameter else {
                throw TrainingError.lossNotFinite(step: step.number + 1, microBatch: fault.microBatch, rank: fault.rank)
            }
            throw TrainingError.gradientNotFinite(
                step: step.number + 1, microBatch: fault.microBatch, rank: fault.rank,
                parameter: arena.parameters[parameter].name)
        }
        guard control.weight > 0 else { throw TrainingError.noWeight(step: step.number + 1) }
    }
}
