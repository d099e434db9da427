import Collectives
import Optimizers
import Tensors

/// Sums the gradients of a step's micro-batches: in this worker's memory first, then over the ring.
///
/// Bucket by bucket, as soon as the last micro-batch's backward pass has finished with one, the ring takes it; the sums appear in
/// the parameter arena's gradients. The worker's own partial sums stay as they were: when a peer is lost, the micro-batches that
/// are held are held for the next attempt, in which only those that went with the peer are computed again.
/// Owns the accumulators. Used by the compute thread.
final class GradientReducer {
    private let arena: ParameterArena
    private let ring: Ring
    private let sums: PartialSums
    private let plan: BucketPlan
    /// Who gets the sums of what is trained.
    private let reach: Ring.Reach
    private var partsLeft: [Int] = []
    private var bucketsStarted = 0
    private var tickets: [Ring.Ticket] = []
    private var failure: (any Error)?
    private var control = StepControl(microBatches: 0, parameters: 0)
    /// The micro-batches whose gradients are in the sums, wholly.
    private(set) var held: Set<Int> = []

    /// - Parameters:
    ///   - reach: who gets the sums of what is trained; those of statistics every member gets.
    ///   - grids: for the exact sum.
    init(
        arena: ParameterArena, plan: BucketPlan, ring: Ring, reduction: Recipe.ReductionMode, reach: Ring.Reach, grids: [Grid]?
    ) {
        self.arena = arena
        self.plan = plan
        self.ring = ring
        self.reach = reach
        sums = PartialSums(arena, reduction: reduction, grids: grids)
    }

    /// Begins a step, or begins it again on other grids, with nothing summed.
    func begin(microBatches: Int, grids: [Grid]?) {
        control = StepControl(microBatches: microBatches, parameters: arena.parameters.count)
        held.removeAll(keepingCapacity: true)
        sums.begin(grids: grids)
    }

    /// Begins an attempt to reduce: what is held stays, and nothing has been given to the ring.
    func beginAttempt() {
        partsLeft = plan.partCounts
        bucketsStarted = 0
        tickets.removeAll(keepingCapacity: true)
        failure = nil
    }

    /// Takes the gradient of one parameter for one micro-batch. With `isLast`, this worker has no further micro-batch in the step,
    /// and the parameter's bucket leaves when it is complete. A ring that fails is told by `reduce`, so that the micro-batch, and
    /// those after it, are held by then.
    func add(parameter index: Int, microBatch id: Int, isLast: Bool) {
        switch sums.accumulate(arena.parameters[index].gradients, part: index) {
        case .fits: break
        case .misfit: control.recordMisfit(parameter: index)
        case .notFinite: control.recordNotFinite(microBatch: id, parameter: index)
        }
        if isLast { finish(part: index) }
    }

    /// A micro-batch has been added with all its parameters.
    func record(microBatch id: Int, weight: Double, lossSum: Double) {
        control.record(microBatch: id, weight: weight, lossSum: lossSum, rank: ring.rank)
        held.insert(id)
    }

    /// For a worker that has no further micro-batch in this attempt: its sums are what it holds.
    func finishWithoutGradients() {
        for index in arena.parameters.indices {
            sums.settle(part: index)
            finish(part: index)
        }
    }

    /// What kept this rank from giving all its sums to the ring.
    func fail(_ error: any Error) {
        if failure == nil { failure = error }
    }

    /// Waits for all buckets and for what the ranks have to tell; the arena's gradients then hold the sums, as far as this rank gets them.
    ///
    /// - Parameter milliseconds: what a micro-batch took in this attempt.
    func reduce(requests: [StepControl.Request], milliseconds: Double) throws -> StepControl {
        if let failure { throw failure }
        var sum = control.contribution(
            requests: requests, place: ring.place, worldSize: ring.worldSize, milliseconds: milliseconds)
        try sum.withValues { try ring.allReduce($0) }
        for (ticket, range) in zip(tickets, plan.ranges) {
            try ring.wait(for: ticket)
            sums.finish(range, into: arena.gradients.baseAddress! + range.lowerBound)
        }
        return sum
    }

    /// Buckets leave in their order on every rank, whatever the order in which backward completes them: operations are matched by
    /// their numbers, and a rank without a micro-batch has no backward to follow.
    private func finish(part index: Int) {
        for bucket in plan.bucketsOfPart[index] { partsLeft[bucket] -= 1 }
        while failure == nil, bucketsStarted < partsLeft.count, partsLeft[bucketsStarted] == 0 {
            do {
                try start(bucket: bucketsStarted)
                bucketsStarted += 1
            } catch {
                fail(error)
            }
        }
    }

    private func start(bucket: Int) throws {
        let range = plan.ranges[bucket]
        tickets.append(
            try sums.start(
                range, into: arena.gradients.baseAddress! + range.lowerBound, over: ring,
                for: bucket < plan.trainedCount ? reach : .everyMember))
    }
}
