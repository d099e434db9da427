import Collectives
import Datasets
import Glibc
import NeuralNetworks
import Optimizers
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
/// A step commits on every rank or on none. Confined to one thread, the one that made it; owns the model's memory.
public final class Trainer<Data: Dataset> {
    public typealias LossFunction = (_ batch: Data.Batch, _ tape: Tape) throws -> Loss

    public let recipe: Recipe
    public let arena: ParameterArena
    /// Steps that have been committed.
    public internal(set) var committedSteps = 0
    /// Steps of the whole run.
    public let totalSteps: Int

    let ring: Ring
    let optimizer: any Optimizer
    let stateArenas: [UnsafeMutableBufferPointer<Float>]
    /// One for each parameter; nil for the float32 sum, and until the first step has found them.
    var grids: [Grid]?

    private let data: Data
    private let plan: StepPlan
    private let order: SampleOrder
    private let loss: LossFunction
    /// Instead of `loss`, where the loss couples the samples of the global batch.
    var globalLoss: GlobalLoss<Data.Batch>?
    var preparedLoss: GlobalLoss<Data.Batch>.Prepared?
    let tape: Tape
    private var reducer: GradientReducer?
    /// Grows when a step is redone on a coarser grid.
    public private(set) var redoneSteps = 0

    /// Lays out the model's memory and draws its first weights.
    ///
    /// - Parameters:
    ///   - loss: the forward pass and the loss of one micro-batch; must be a function of its arguments and the model only.
    /// - Throws: `DatasetError` if the batch sizes make no sense for the data, `TrainingError` if the CPU lacks the recipe's precision.
    public init(
        model: some Module, data: Data, optimizer: any Optimizer, recipe: Recipe, ring: Ring, loss: @escaping LossFunction
    ) throws {
        guard recipe.precision.isSupported else { throw TrainingError.precisionUnsupported(name: recipe.precision.name) }
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
        tape = Tape(parameters: arena, precision: recipe.precision)
        stateArenas = optimizer.stateNames.map { _ in
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(arena.count, 1) * 4, alignment: 64)
            memory.initializeMemory(as: UInt8.self, repeating: 0)
            return UnsafeMutableBufferPointer(start: memory.bindMemory(to: Float.self).baseAddress, count: arena.count)
        }
    }

    deinit {
        for arena in stateArenas { UnsafeMutableRawPointer(arena.baseAddress!).deallocate() }
    }

    /// The micro-batches of a full step: how many partial gradients a grid must have room for.
    var partsPerStep: Int { plan.step(0).microBatchCount }

    public var rank: Int { ring.rank }
    public var worldSize: Int { ring.worldSize }
    public var isDone: Bool { committedSteps >= totalSteps }
    /// Where the next step takes its data.
    public var nextStep: StepPlan.Step { plan.step(committedSteps) }

    /// Runs until the last step has been committed; `observe` is called after each.
    public func run(observe: (StepMetrics) throws -> Void = { _ in }) throws {
        while !isDone { try observe(try step()) }
    }

    /// Runs one step and commits it.
    ///
    /// - Throws: `TrainingError` where numbers stop being numbers, `CollectiveError` where the ring fails, and what the data set and
    ///   the loss throw. Weights, optimizer state and `committedSteps` are then those of before the step.
    public func step() throws -> StepMetrics {
        let step = plan.step(committedSteps)
        let bytesBefore = ring.bytesSent
        var clock = StepClock()
        try clock.measure(.compute) { try prepareGlobalLoss(step) }
        try prepareReducer(step)
        var control = try computeAndReduce(step, &clock)
        while recipe.reduction == .exact, control.fault == nil, !control.misfits.isEmpty {
            for index in control.misfits { grids![index] = grids![index].raised() }
            redoneSteps += 1
            control = try computeAndReduce(step, &clock)
        }
        try judge(control, step)
        let norm = clock.measure(.optimizer) { commit(control) }
        clock.end()
        let items = step.positions.count * data.itemsPerSample
        return StepMetrics(
            step: committedSteps, loss: control.lossSum / control.weight,
            learningRate: recipe.schedule.learningRate(atStep: step.number), gradientNorm: norm,
            itemsPerSecond: Double(items) / clock.total.seconds, stepMilliseconds: clock.total.milliseconds,
            computeMilliseconds: clock[.compute].milliseconds, exposedReduceMilliseconds: clock[.exposedReduce].milliseconds,
            optimizerMilliseconds: clock[.optimizer].milliseconds, bytesSent: Int(ring.bytesSent - bytesBefore),
            worldSize: worldSize)
    }

    // MARK: The parts of a step

    private func prepareReducer(_ step: StepPlan.Step) throws {
        guard recipe.reduction == .exact else {
            if reducer == nil { reducer = GradientReducer(arena: arena, ring: ring, grids: nil) }
            return
        }
        if grids == nil { grids = try firstGrids(step) }
        if reducer == nil { reducer = GradientReducer(arena: arena, ring: ring, grids: grids) }
    }

    /// The grids of the first step: every rank looks at the gradients of the step's first micro-batch, and so finds the same.
    private func firstGrids(_ step: StepPlan.Step) throws -> [Grid] {
        try pass(step, microBatch: 0) { _ in }
        return arena.parameters.map { parameter in
            let magnitude = GradientNorm.largestMagnitude(UnsafeBufferPointer(start: parameter.gradients, count: parameter.count))
            return Grid.first(largestMagnitudeBits: magnitude.bitPattern, parts: partsPerStep)
        }
    }

    private func computeAndReduce(_ step: StepPlan.Step, _ clock: inout StepClock) throws -> StepControl {
        let reducer = reducer!
        let share = step.microBatches(rank: rank, worldSize: worldSize)
        reducer.begin(microBatches: step.microBatchCount, grids: grids)
        try clock.measure(.compute) {
            for id in share {
                var failure: (any Error)?
                let (weight, lossSum) = try pass(step, microBatch: id) { parameter in
                    guard failure == nil else { return }
                    do {
                        try reducer.add(parameter: parameter.index, microBatch: id, isLast: id == share.last)
                    } catch {
                        failure = error
                    }
                }
                if let failure { throw failure }
                reducer.record(microBatch: id, weight: weight, lossSum: lossSum)
            }
            if share.isEmpty { try reducer.finishWithoutGradients() }
        }
        return try clock.measure(.exposedReduce) { try reducer.reduce() }
    }

    /// Forward and backward of one micro-batch. The gradients, of the loss's sum, are in the arena when it returns.
    @discardableResult
    private func pass(
        _ step: StepPlan.Step, microBatch id: Int, parameterReady: (Parameter) -> Void
    ) throws -> (weight: Double, lossSum: Double) {
        if let globalLoss { return try globalPass(globalLoss, step, microBatch: id, parameterReady: parameterReady) }
        let loss = try loss(beginPass(step, microBatch: id), tape)
        let sum = Double(loss.sum.item)
        tape.backward(from: loss, parameterReady: parameterReady)
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

    /// The optimizer step, from the sums that every rank has. Gives the gradient's norm before clipping.
    private func commit(_ control: StepControl) -> Double {
        let trained = arena.trainedRange
        let gradients = UnsafeBufferPointer(rebasing: arena.gradients[trained])
        let (blockSums, largest) = GradientNorm.survey(gradients, partEnds: arena.trainedPartEnds)
        let norm = GradientNorm.norm(blockSums: blockSums, scale: 1 / control.weight)
        let clip = recipe.clipNorm.map { GradientNorm.clipFactor(norm: norm, limit: $0) } ?? 1
        if let current = grids {
            grids = zip(current, arena.parameters).map { grid, parameter in
                // Statistics stand behind what the survey covers.
                let magnitude =
                    parameter.isStatistic
                    ? GradientNorm.largestMagnitude(UnsafeBufferPointer(start: parameter.gradients, count: parameter.count))
                    : largest[parameter.index]
                return grid.next(largestMagnitudeBits: magnitude.bitPattern)
            }
        }
        let part = ArenaPart(
            range: trained, values: arena.values.baseAddress!, gradients: arena.gradients.baseAddress!,
            state: stateArenas.map { $0.baseAddress! }, decayRuns: arena.decayRuns)
        optimizer.update(
            part,
            with: OptimizerStep(
                number: committedSteps + 1, learningRate: recipe.schedule.learningRate(atStep: committedSteps),
                gradientScale: Float(clip / control.weight)))
        arena.updateStatistics(scale: Float(1 / control.weight))
        committedSteps += 1
        return norm
    }
}
