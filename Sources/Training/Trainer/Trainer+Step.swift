import Collectives
import Datasets
import Optimizers
import Tensors

extension Trainer {
    /// One attempt at a step, on one set of grids: the section in which micro-batches are computed, summed and, if all is well,
    /// committed. Its body runs once for every ring on which it is tried; what is held from the ring before stays held.
    func attempt(_ step: StepPlan.Step, _ clock: inout StepClock) throws -> Ring.Outcome {
        try prepareReducer(step)
        let reducer = reducer!
        reducer.begin(microBatches: step.microBatchCount, grids: grids)
        return try ring.section(isOpen: true) {
            do {
                return try reduceAndCommit(step, reducer, &clock).values
            } catch let error as CollectiveError {
                reducer.endAttempt()
                throw error
            }
        }
    }

    private func reduceAndCommit(
        _ step: StepPlan.Step, _ reducer: GradientReducer, _ clock: inout StepClock
    ) throws -> StepOutcome {
        reducer.beginAttempt()
        if committedSteps == 0 { beginShards() }
        let missing = try exchangePlans(step)
        let began = clock[.compute]
        let computed = try clock.measure(.compute) {
            try prepareGlobalLoss(step)
            return try compute(step, missing: missing)
        }
        let milliseconds = computed == 0 ? 0 : (clock[.compute] - began).milliseconds / Double(computed)
        let control = try clock.measure(.exposedReduce) {
            try visit(.reduction)
            let arrived: ((Int) throws -> Void)? = faults == nil ? nil : { [self] bucket in try visit(.bucket(bucket)) }
            return try reducer.reduce(requests: requests, milliseconds: milliseconds, arrived: arrived)
        }
        let isSound = control.fault == nil && control.weight > 0
        let misfits = isSound && recipe.reduction == .exact ? control.misfits : []
        let survey = try clock.measure(.optimizer) { isSound && misfits.isEmpty ? try surveySums() : nil }
        try visit(.commit)
        var outcome = StepOutcome(
            step: step.number, isCommitted: false, worldSize: ring.worldSize, gradientNorm: 0, control: control)
        // From here on nothing can fail: the step commits here, and so it does everywhere.
        for index in misfits { grids![index] = grids![index].raised() }
        if let survey {
            outcome.isCommitted = true
            outcome.gradientNorm = GradientNorm.norm(blockSums: survey.blockSums, scale: 1 / control.weight)
            takeGrids(survey)
            if shards == nil {
                clock.measure(.optimizer) { commit(outcome) }
            } else {
                decided = outcome
            }
        }
        return outcome
    }

    /// What this rank asks the others for.
    private var requests: [StepControl.Request] {
        var requests: [StepControl.Request] = []
        if ring.wishes.contains(.reform) { requests.append(.reform) }
        if StopRequest.signal != nil || ring.wishes.contains(.stop) || ring.stopOrder != nil { requests.append(.stop) }
        return requests
    }

    private func prepareReducer(_ step: StepPlan.Step) throws {
        if recipe.reduction == .exact, grids == nil { grids = try firstGrids(step) }
        if reducer == nil {
            reducer = GradientReducer(
                arena: arena, plan: buckets, ring: ring, reduction: recipe.reduction,
                reach: shards == nil ? .everyMember : .ownerAndNext(grain: OptimizerShards.grain), grids: grids)
        }
    }

    /// The grids of the first step: every rank looks at the gradients of the step's first micro-batch, and so finds the same.
    private func firstGrids(_ step: StepPlan.Step) throws -> [Grid] {
        if globalLoss != nil { _ = try ring.section { try prepareGlobalLoss(step); try ring.barrier(); return [] } }
        var magnitudes = [Float](repeating: 0, count: arena.parameters.count)
        try pass(step, microBatch: 0) { parameter, gradient in
            magnitudes[parameter.index] = GradientNorm.largestMagnitude(UnsafeBufferPointer(gradient))
        }
        return magnitudes.map { Grid.first(largestMagnitudeBits: $0.bitPattern, parts: partsPerStep) }
    }

    /// On a ring that is new, the ranks tell each other which micro-batches they hold, and get the sums that any of
    /// them has.
    ///
    /// - Returns: those that this rank is to compute because they went with a dead rank; nil where none is held anywhere, and the step
    ///   is shared out as any other.
    private func exchangePlans(_ step: StepPlan.Step) throws -> [Int]? {
        guard plannedGeneration != ring.generation else { return nil }
        let reducer = reducer!
        // Of each micro-batch, whether it is held; of each rank, how many buckets it has the sums of.
        var reports = [Int32](repeating: 0, count: step.microBatchCount + ring.worldSize)
        for id in reducer.held { reports[id] = 1 }
        reports[step.microBatchCount + ring.place] = Int32(reducer.finishedBuckets)
        try reports.withUnsafeMutableBufferPointer { try ring.allReduce($0, .max) }
        try reducer.shareResults(finished: reports[step.microBatchCount...].map { Int($0) })
        plannedGeneration = ring.generation
        let holders = reports[..<step.microBatchCount]
        let missing = holders.indices.filter { holders[$0] == 0 }
        guard missing.count < holders.count else { return nil }
        return Array(missing[StepPlan.share(ofMicroBatches: missing.count, rank: ring.place, worldSize: ring.worldSize)])
    }

    /// Computes this rank's micro-batches, and gives what is final to the ring. Gives how many they were.
    private func compute(_ step: StepPlan.Step, missing: [Int]?) throws -> Int {
        if missing == nil, assignment == .dynamic { return try computeClaims(step) }
        let share = missing ?? Array(step.microBatches(rank: ring.place, worldSize: ring.worldSize))
        for (index, id) in share.enumerated() { try compute(step, microBatch: id) { index == share.count - 1 } }
        if share.isEmpty { reducer!.finishWithoutGradients() }
        return share.count
    }

    /// The same where the next micro-batch is asked for while one is computed, so that by the time of its backward pass it is known whether
    /// it is the last.
    private func computeClaims(_ step: StepPlan.Step) throws -> Int {
        let count = step.microBatchCount
        var computed = 0
        var claimed = try ring.claim(of: count)
        while let id = claimed {
            ring.startClaim(of: count)
            claimed = nil
            try compute(step, microBatch: id) {
                do {
                    claimed = try ring.claim(of: count)
                } catch {
                    // The micro-batch at hand is finished, and held.
                    reducer!.fail(error)
                }
                return claimed == nil
            }
            computed += 1
        }
        if computed == 0 { reducer!.finishWithoutGradients() }
        return computed
    }

    /// - Parameter isLast: asked after the forward pass.
    private func compute(_ step: StepPlan.Step, microBatch id: Int, isLast: () -> Bool) throws {
        let reducer = reducer!
        try visit(.microBatch(id))
        var last = false
        let (weight, lossSum) = try pass(
            step, microBatch: id, beforeBackward: { last = isLast() },
            gradientReady: { parameter, gradient in
                reducer.add(gradient.baseAddress!, of: parameter.index, microBatch: id, isLast: last)
            })
        reducer.record(microBatch: id, weight: weight, lossSum: lossSum)
    }

    /// The sums of the step's gradients, laid out as the arena, as far as this rank gets them: from their reduction to
    /// the next step.
    package var gradientSums: UnsafeMutableBufferPointer<Float> { reducer!.results }

    /// What the sums are like: all of them, or, where each rank has its part, what all ranks see.
    private func surveySums() throws -> GradientSurvey {
        shards == nil ? GradientSurvey(arena, sums: gradientSums) : try surveyShards()
    }

    /// The grids of the next step.
    private func takeGrids(_ survey: GradientSurvey) {
        guard let current = grids else { return }
        grids = zip(current, arena.parameters).map { grid, parameter in
            // Statistics stand behind what the survey covers; every rank has their sums.
            let magnitude =
                parameter.isStatistic
                ? GradientNorm.largestMagnitude(UnsafeBufferPointer(rebasing: gradientSums[parameter.range]))
                : survey.largest[parameter.index]
            return grid.next(largestMagnitudeBits: magnitude.bitPattern)
        }
    }

    /// The optimizer step, on the whole of the state.
    private func commit(_ outcome: StepOutcome) {
        update(arena.trainedRange, state: stateArenas.map { $0.baseAddress! }, with: outcome)
        endCommit(outcome)
    }

    /// What the optimizer does to a stretch of the arena.
    ///
    /// - Parameter state: where the stretch's state stands, in the order of the optimizer's names.
    func update(_ range: Range<Int>, state: [UnsafeMutablePointer<Float>], with outcome: StepOutcome) {
        let clip = recipe.clipNorm.map { GradientNorm.clipFactor(norm: outcome.gradientNorm, limit: $0) } ?? 1
        let part = ArenaPart(
            range: range, values: arena.values.baseAddress! + range.lowerBound,
            gradients: gradientSums.baseAddress! + range.lowerBound, state: state, decayRuns: arena.decayRuns)
        optimizer.update(
            part,
            with: OptimizerStep(
                number: outcome.step + 1, learningRate: recipe.schedule.learningRate(atStep: outcome.step),
                gradientScale: Float(clip / outcome.control.weight)))
    }

    /// What belongs to a step besides.
    func endCommit(_ outcome: StepOutcome) {
        arena.updateStatistics(from: gradientSums.baseAddress!, scale: Float(1 / outcome.control.weight))
        committedSteps = outcome.step + 1
    }

    /// Where a test may have this rank die.
    func visit(_ point: FaultInjector.Point) throws {
        try faults?.visit(point, rank: rank, step: committedSteps + 1)
    }
}
