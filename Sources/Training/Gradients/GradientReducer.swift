import Collectives
import Optimizers
import Tensors

/// Sums the gradients of a step's micro-batches: in this worker's memory first, then over the ring.
///
/// Bucket by bucket, as soon as the last micro-batch's backward pass has finished with one, the ring takes it. What a
/// worker has summed survives the loss of a peer: of each bucket it has its own partial sum, as it was, or the finished
/// sum of all, which has every micro-batch of the step. In the next attempt, finished sums go from a rank that has the
/// most of them to the others, as one rank may have had the last piece of a sum and another not; of the other buckets
/// the micro-batches that went with the peer are computed again. Owns the accumulators. Used by the compute thread.
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
        let takesPlace = if case .everyMember = reach { true } else { false }
        sums = PartialSums(arena, buckets: plan.ranges, reduction: reduction, takesPlace: takesPlace, grids: grids)
    }

    /// All workers' sums after `reduce`, laid out as the parameter arena, as far as this rank gets them; valid until
    /// the next `begin`.
    var results: UnsafeMutableBufferPointer<Float> { .init(start: sums.results, count: arena.count) }

    /// How many of the first buckets have their sums.
    var finishedBuckets: Int { sums.finishedBuckets }
    /// How many buckets' sums there were when rings were new, in all.
    private(set) var keptBuckets = 0

    /// Begins a step, or begins it again on other grids, with nothing summed.
    func begin(microBatches: Int, grids: [Grid]?) {
        control = StepControl(microBatches: microBatches, parameters: arena.parameters.count)
        held.removeAll(keepingCapacity: true)
        sums.begin(grids: grids)
    }

    /// Begins an attempt to reduce: what is held stays, and nothing has been given to the ring.
    func beginAttempt() {
        partsLeft = plan.partCounts
        bucketsStarted = sums.finishedBuckets
        tickets.removeAll(keepingCapacity: true)
        failure = nil
    }

    /// On a ring that is new: gives this rank the sums that any has.
    ///
    /// - Parameter finished: how many of the first buckets each rank has the sums of, by place.
    func shareResults(finished: [Int]) throws {
        sums.forgetResults()
        guard let most = finished.max(), let least = finished.min(), let holder = finished.firstIndex(of: most)
        else { return }
        try sums.receive(least..<most, from: holder, over: ring)
        bucketsStarted = most
        keptBuckets += most
    }

    /// The ring has failed: what had ended by then stays.
    func endAttempt() {
        let ended = tickets.prefix { ring.hasEnded($0) }.count
        sums.finish(through: sums.finishedBuckets + ended)
        tickets.removeAll(keepingCapacity: true)
    }

    /// Takes the gradient of one parameter for one micro-batch. With `isLast`, this worker has no further micro-batch in the step,
    /// and the parameter's bucket leaves when it is complete. A ring that fails is told by `reduce`, so that the micro-batch, and
    /// those after it, are held by then.
    func add(_ gradient: UnsafePointer<Float>, of index: Int, microBatch id: Int, isLast: Bool) {
        switch sums.accumulate(gradient, part: index) {
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

    /// Waits for all buckets and for what the ranks have to tell; `results` are there then.
    ///
    /// - Parameters:
    ///   - milliseconds: what a micro-batch took in this attempt.
    ///   - arrived: for tests: called when each bucket's sums have come.
    func reduce(
        requests: [StepControl.Request], milliseconds: Double, arrived: ((_ bucket: Int) throws -> Void)?
    ) throws -> StepControl {
        if let failure { throw failure }
        if let arrived {
            let first = plan.ranges.count - tickets.count
            for (number, ticket) in tickets.enumerated() {
                try ring.wait(for: ticket)
                try arrived(first + number)
            }
        }
        var sum = control.contribution(
            requests: requests, place: ring.place, worldSize: ring.worldSize, milliseconds: milliseconds)
        try sum.withValues { try ring.allReduce($0) }
        for ticket in tickets { try ring.wait(for: ticket) }
        sums.finishAll { bucket in
            let range = plan.ranges[bucket]
            return reach(ofBucket: bucket).parts(of: range.count, place: ring.place, worldSize: ring.worldSize).map {
                range.lowerBound + $0.lowerBound..<range.lowerBound + $0.upperBound
            }
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
        tickets.append(try sums.start(bucket, over: ring, for: reach(ofBucket: bucket)))
    }

    private func reach(ofBucket bucket: Int) -> Ring.Reach { bucket < plan.trainedCount ? reach : .everyMember }
}
