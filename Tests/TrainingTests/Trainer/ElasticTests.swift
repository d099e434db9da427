import Checkpoints
import Collectives
import Datasets
import Glibc
import Synchronization
import Tensors
import TestSupport
import Testing
import Training

/// Ranks that die at a chosen place: what is left goes on, to the bits of a run in which nobody dies.
///
/// A rank is a thread here, and dies by dropping its ring: its connections close without a word, as a dead process's do.
@Suite(.serialized) struct ElasticTests {
    struct Curve: Equatable {
        var losses: [Double] = []
        var evaluations: [Evaluation] = []
        var digest: Digest?
    }

    typealias Death = (rank: Int, step: Int, point: FaultInjector.Point)

    /// Trains with evaluations and checkpoints on the way, as the built-in tasks do.
    static func train(
        _ ring: Ring, faults: FaultInjector? = nil, steps: Int = 12, checkpoints: CheckpointDirectory? = nil,
        assignment: MicroBatchAssignment = .fixed, shards: Bool = false, hidden: Int = 19,
        observe: (Trainer<Numbers>) throws -> Void = { _ in }
    ) throws -> Curve {
        let trainer = try smallTrainer(ring, steps: steps, hidden: hidden)
        if shards { trainer.shardOptimizer() }
        trainer.fallback = { try checkpoints?.latest().checkpoint }
        trainer.faults = faults
        trainer.compareEvery = 4
        trainer.assignment = assignment
        var curve = Curve()
        try trainer.enter()
        while !trainer.isDone {
            curve.losses.append(try trainer.step().loss)
            if trainer.committedSteps % 3 == 0 {
                curve.evaluations.append(
                    try trainer.evaluate(Numbers(count: 50)) { batch, tape in
                        let x = tape.input(batch.x, [batch.labels.count, 4])
                        return Score(loss: Loss(sum: (x * x).sum(), weight: Double(batch.labels.count)), correct: batch.labels[0] == 1 ? 1 : 0)
                    })
            }
            if let checkpoints, trainer.committedSteps % 5 == 0 {
                try trainer.save(to: checkpoints, recipe: [:], inBackground: trainer.committedSteps % 2 == 0)
            }
            try observe(trainer)
        }
        try trainer.finishSaving()
        curve.digest = trainer.weightsDigest
        return curve
    }

    /// Runs `program` on every rank of a world in which ranks die, and gives how many did.
    static func inMortalWorld(of worldSize: Int, _ program: @escaping @Sendable (Ring) throws -> Void) throws -> Int {
        let deaths = Mutex(0)
        let coordinator = try LocalCoordinator(worldSize: worldSize)
        defer { coordinator.stop() }
        inThreads(worldSize) { rank in
            do {
                let ring = try Ring(try coordinator.environment(rank: rank))
                try program(ring)
                ring.close()
            } catch is FaultInjector.Death {
                deaths.withLock { $0 += 1 }
            } catch {
                Issue.record("rank \(rank) of \(worldSize): \(error)")
            }
        }
        return deaths.withLock { $0 }
    }

    /// Whoever is left has the curve of a world of one. Those in `together` die in one step, none before all have come to their places. Gives how
    /// many died.
    @discardableResult
    static func expectTheSameBits(
        _ worldSize: Int, _ deaths: [Death], together: [Death] = [], assignment: MicroBatchAssignment = .fixed, shards: Bool = false,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Int {
        let hidden = shards ? wide : 19
        let expected = try train(alone(), hidden: hidden)
        let folder = try TemporaryFolder()
        let faults = FaultInjector()
        for death in deaths { faults.failAt(rank: death.rank, step: death.step, death.point) }
        if let step = together.first?.step { faults.failTogether(together.map { ($0.rank, $0.point) }, step: step) }
        let survivors = Mutex(0)
        let directory = CheckpointDirectory(folder.path)
        let died = try inMortalWorld(of: worldSize) { ring in
            let curve = try train(ring, faults: faults, checkpoints: directory, assignment: assignment, shards: shards, hidden: hidden)
            #expect(curve == expected, "rank \(ring.rank) after \(deaths)", sourceLocation: sourceLocation)
            survivors.withLock { $0 += 1 }
        }
        #expect(survivors.withLock { $0 } == worldSize - died, "\(deaths)", sourceLocation: sourceLocation)
        let (checkpoint, damaged) = try directory.latest()
        #expect(damaged.isEmpty && checkpoint?.manifest.step == 10, "\(deaths)", sourceLocation: sourceLocation)
        return died
    }

    /// In every part of a step and of what follows it, whichever rank it is. Seven micro-batches on three ranks: 3 + 2 + 2.
    @Test(
        arguments: [
            .microBatch(0), .microBatch(1), .microBatch(2), .microBatch(4), .microBatch(6), .reduction, .commit, .evaluation(3), .evaluation(9),
            .evaluation(14), .comparison, .save, .saved,
        ] as [FaultInjector.Point], [0, 1, 2])
    func oneDiesAnywhere(point: FaultInjector.Point, rank: Int) throws {
        let step =
            switch point {
            case .evaluation: 6
            case .comparison: 8
            case .save, .saved: 5
            default: 5
            }
        // Points that follow a step are visited with the next step's number.
        let isBetween = if case .evaluation = point { true } else { point == .comparison || point == .save || point == .saved }
        try ElasticTests.expectTheSameBits(3, [(rank, isBetween ? step + 1 : step, point)])
    }

    @Test func downToOne() throws {
        try ElasticTests.expectTheSameBits(5, [(0, 2, .reduction), (1, 3, .microBatch(2)), (2, 3, .commit), (4, 9, .microBatch(6))])
    }

    @Test func allButOneAtOnce() throws {
        try ElasticTests.expectTheSameBits(4, [(0, 5, .reduction), (1, 5, .reduction), (2, 5, .commit)])
    }

    @Test func theFirstStep() throws {
        try ElasticTests.expectTheSameBits(3, [(0, 1, .microBatch(0)), (2, 1, .reduction)])
    }

    /// Whichever ranks, steps and points: every seed is a world of its own.
    @Test(arguments: 0..<60) func anyWorld(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let worldSize = Int.random(in: 2...5, using: &random)
        let mortal = (0..<worldSize).shuffled(using: &random).dropFirst()
        let deaths = mortal.prefix(Int.random(in: 1..<worldSize, using: &random)).map { rank -> Death in
            let points: [FaultInjector.Point] = [
                .microBatch(.random(in: 0..<7, using: &random)), .reduction, .commit, .evaluation(.random(in: 0..<17, using: &random)),
                .comparison, .save, .saved, .synchronisation(.random(in: 0..<3, using: &random)),
            ]
            return (rank, Int.random(in: 1...12, using: &random), points.randomElement(using: &random)!)
        }
        try ElasticTests.expectTheSameBits(worldSize, deaths, assignment: seed % 2 == 0 ? .fixed : .dynamic)
    }

    /// A rank comes back in the middle of the run, gets the state, and ends with the others' bits: also the first rank, which then is first
    /// again.
    @Test(arguments: [0, 1, 2], [false, true]) func aRankReturns(rank: Int, shards: Bool) throws {
        let steps = 400
        let hidden = shards ? ElasticTests.wide : 19
        let expected = try ElasticTests.train(alone(), steps: steps, hidden: hidden)
        let faults = FaultInjector()
        faults.failAt(rank: rank, step: 5, .reduction)
        let coordinator = try LocalCoordinator(worldSize: 3)
        defer { coordinator.stop() }
        let stepsOfReturned = Mutex(0)
        let ended = Mutex(0)
        let isMissed = Mutex(false)
        inThreads(4) { number in
            // The fourth thread is the one that is started for the dead rank.
            let own = number == 3 ? rank : number
            do {
                let deadline = ContinuousClock.now + .seconds(120)
                while number == 3, !isMissed.withLock({ $0 }) {
                    try #require(ContinuousClock.now < deadline, "rank \(rank) has not died")
                    usleep(1000)
                }
                let ring = try Ring(try coordinator.environment(rank: own))
                #expect(ring.isNewcomer == (number == 3))
                let curve = try ElasticTests.train(ring, faults: faults, steps: steps, shards: shards, hidden: hidden) { trainer in
                    if number == 3 { stepsOfReturned.withLock { $0 += 1 } }
                    if trainer.worldSize == 2 { isMissed.withLock { $0 = true } }
                    // Time for the newcomer to come: on a busy machine there is more of it towards the end.
                    if stepsOfReturned.withLock({ $0 }) == 0 { usleep(trainer.committedSteps < steps / 2 ? 5000 : 200_000) }
                    #expect(trainer.worldSize == 3 || stepsOfReturned.withLock { $0 } == 0)
                }
                #expect(curve.digest == expected.digest)
                #expect(curve.losses == expected.losses.suffix(curve.losses.count))
                ring.close()
                ended.withLock { $0 += 1 }
            } catch is FaultInjector.Death {
            } catch {
                Issue.record("rank \(own): \(error)")
            }
        }
        #expect(stepsOfReturned.withLock { $0 } > 0 && ended.withLock { $0 } == 3)
    }

    // MARK: Where the optimizer's state is shared out

    /// Makes two buckets, of 17 and 25 blocks: what is shared out.
    private static let wide = 24_000

    /// One rank dies in each part of a step: its part is with its neighbour.
    @Test(
        arguments: [.microBatch(3), .reduction, .commit, .decision, .gathering, .evaluation(3), .comparison, .save, .saved] as [FaultInjector.Point],
        [0, 1, 3])
    func oneOfFourWithShardsDies(point: FaultInjector.Point, rank: Int) throws {
        try ElasticTests.expectTheSameBits(4, [(rank, point == .comparison ? 9 : point == .evaluation(3) ? 7 : 6, point)], shards: true)
    }

    /// One after the other, none of them before what the one before had is with two ranks again.
    @Test(arguments: 0..<30) func anyWorldWithShards(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let worldSize = Int.random(in: 2...5, using: &random)
        let mortal = (0..<worldSize).shuffled(using: &random).dropFirst()
        var step = 1
        let deaths = mortal.prefix(Int.random(in: 1..<worldSize, using: &random)).map { rank -> Death in
            let points: [FaultInjector.Point] = [.microBatch(.random(in: 0..<7, using: &random)), .reduction, .commit, .decision, .gathering]
            step += Int.random(in: 2...3, using: &random)
            return (rank, step, points.randomElement(using: &random)!)
        }
        try ElasticTests.expectTheSameBits(worldSize, deaths, shards: true)
    }

    /// Three of six, no two of them neighbours: the state is shared out for six, the sums of the step for five, and both go to new places, where
    /// more die on the way. Nothing is lost.
    @Test(
        arguments: [.reduction, .commit, .decision, .gathering] as [FaultInjector.Point],
        [.moving(0), .moving(1), .moving(2), .moved, .decision, .gathering] as [FaultInjector.Point])
    func threeOfSixDieInOneStep(second: FaultInjector.Point, third: FaultInjector.Point) throws {
        let (first, others): (Death, [Death]) = ((0, 6, .microBatch(0)), [(2, 6, second), (4, 6, third)])
        // One rank may be at the decision while another waits for its last sum, and never sees it if the first one dies: those two wait.
        let wait = second == .commit && third == .decision
        let died = try ElasticTests.expectTheSameBits(6, wait ? [first] : [first] + others, together: wait ? others : [], shards: true)
        #expect(died == 3)
    }

    /// The same where the first step is the one, of which nobody has a state yet.
    @Test(arguments: [FaultInjector.Point.decision, .gathering, .moved]) func twoOfFiveDieInTheFirstStep(point: FaultInjector.Point) throws {
        let died = try ElasticTests.expectTheSameBits(5, [(1, 1, .decision), (3, 1, point)], shards: true)
        #expect(died == 2)
    }

    /// Both that have a part die at once: the run goes back to the checkpoint of step 5, says so, and ends with the same bits.
    @Test(arguments: [FaultInjector.Point.microBatch(2), .reduction, .commit, .decision, .gathering]) func bothThatHaveAPartDie(point: FaultInjector.Point) throws {
        let expected = try ElasticTests.train(alone(), hidden: ElasticTests.wide)
        let folder = try TemporaryFolder()
        let directory = CheckpointDirectory(folder.path)
        let faults = FaultInjector()
        // Seven micro-batches on four ranks: 2 + 2 + 2 + 1.
        faults.failTogether(point == .microBatch(2) ? [(1, point), (2, .microBatch(4))] : [(1, point), (2, point)], step: 8)
        let setbacks = Mutex<[Int]>([])
        let died = try ElasticTests.inMortalWorld(of: 4) { ring in
            let curve = try ElasticTests.train(ring, faults: faults, checkpoints: directory, shards: true, hidden: ElasticTests.wide) { trainer in
                if let step = trainer.takeSetback() { setbacks.withLock { $0.append(step) } }
            }
            #expect(curve.digest == expected.digest)
        }
        #expect(died == 2)
        #expect(setbacks.withLock { $0 } == [5, 5])
    }

    @Test func withoutACheckpointALostPartIsTheEnd() throws {
        let faults = FaultInjector()
        // With all sums at hand: by then every rank has ended step 7.
        faults.failTogether([(1, .commit), (2, .commit)], step: 8)
        let told = Mutex(0)
        _ = try ElasticTests.inMortalWorld(of: 4) { ring in
            do {
                _ = try ElasticTests.train(ring, faults: faults, shards: true, hidden: ElasticTests.wide)
                Issue.record("rank \(ring.rank) went on")
            } catch TrainingError.stateLost(step: 7) {
                told.withLock { $0 += 1 }
            }
        }
        #expect(told.withLock { $0 } == 2)
    }

    /// Half of the ranks or more are sent away at once, all of them neighbours, without a checkpoint: they go when the others have what they had.
    /// One of those who stay dies while it is handed over.
    @Test(arguments: [(6, 3), (5, 2), (3, 1)], [nil, .moving(0), .moved] as [FaultInjector.Point?])
    func manyAreSentAwayAtOnce(sizes: (from: Int, to: Int), death: FaultInjector.Point?) throws {
        let steps = 100
        let dies = death != nil && sizes.to > 1
        let expected = try ElasticTests.train(alone(), steps: steps, hidden: ElasticTests.wide)
        let faults = FaultInjector()
        // The first move of all, whenever it is.
        if let death, dies { for step in 1...steps { faults.failAt(rank: 1, step: step, death) } }
        let coordinator = try LocalCoordinator(worldSize: sizes.from)
        defer { coordinator.stop() }
        let gone = Mutex(0)
        let ended = Mutex<[Int]>([])
        inThreads(sizes.from) { rank in
            do {
                let ring = try Ring(try coordinator.environment(rank: rank))
                let curve = try ElasticTests.train(ring, faults: faults, steps: steps, shards: true, hidden: ElasticTests.wide) { trainer in
                    if rank == 0, trainer.committedSteps == 3 { coordinator.scale(to: sizes.to) }
                    // Time for it to be heard: on a busy machine there is more of it towards the end.
                    if trainer.worldSize == sizes.from { usleep(trainer.committedSteps < steps / 2 ? 2000 : 200_000) }
                    #expect(trainer.takeSetback() == nil)
                }
                #expect(curve.digest == expected.digest && curve.losses == expected.losses)
                ended.withLock { $0.append(ring.worldSize) }
                ring.close()
            } catch RingDeparture.retired {
                gone.withLock { $0 += 1 }
            } catch is FaultInjector.Death {
            } catch {
                Issue.record("rank \(rank): \(error)")
            }
        }
        let left = dies ? sizes.to - 1 : sizes.to
        #expect(gone.withLock { $0 } == sizes.from - sizes.to)
        #expect(ended.withLock { $0 } == [Int](repeating: left, count: left))
    }

    /// 2 / n of the state, but for the division's rest: less than a block in each bucket and chunk.
    @Test(arguments: [1, 2, 3, 4, 5, 8]) func whatARankKeeps(worldSize: Int) throws {
        let expected = try ElasticTests.train(alone(), hidden: ElasticTests.wide).digest
        try inWorld(of: worldSize) { ring in
            let trainer = try smallTrainer(ring, hidden: ElasticTests.wide)
            trainer.shardOptimizer()
            try trainer.run()
            #expect(trainer.weightsDigest == expected)
            let whole = trainer.arena.trainedRange.count * 2 * 4
            #expect(abs(trainer.optimizerStateBytes - whole * min(worldSize, 2) / worldSize) < 2 * 2 * 4096 * 2 * 4)
        }
    }

    /// Stopped and resumed with another number of workers, shared out before or after or both.
    @Test(arguments: [(3, 4), (4, 1), (1, 3)], [(true, true), (true, false), (false, true)])
    func resumedWithOrWithoutShards(sizes: (Int, Int), shards: (Bool, Bool)) throws {
        let expected = try ElasticTests.train(alone(), hidden: ElasticTests.wide).digest
        let folder = try TemporaryFolder()
        let directory = CheckpointDirectory(folder.path)
        try inWorld(of: sizes.0) { ring in
            let trainer = try smallTrainer(ring, hidden: ElasticTests.wide)
            if shards.0 { trainer.shardOptimizer() }
            for _ in 0..<7 { _ = try trainer.step() }
            try trainer.save(to: directory, recipe: [:])
        }
        let found = try #require(try directory.latest().checkpoint)
        try inWorld(of: sizes.1) { ring in
            let trainer = try smallTrainer(ring, hidden: ElasticTests.wide)
            if shards.1 { trainer.shardOptimizer() }
            try trainer.restore(ring.isFirst ? found : nil)
            #expect(trainer.committedSteps == 7)
            try trainer.run()
            #expect(trainer.weightsDigest == expected)
        }
    }

    // MARK: With other models and losses

    /// One of three dies at a place of a run, each that comes there in turn; the others have the weights of a run in which nobody does. Seven
    /// micro-batches: 3 + 2 + 2.
    private static func expectTheSameWeights<Data: Dataset>(
        step: Int, _ point: FaultInjector.Point, _ makeTrainer: @escaping @Sendable (Ring) throws -> Trainer<Data>
    ) throws {
        let undisturbed = try makeTrainer(alone())
        try undisturbed.run()
        let expected = undisturbed.weightsDigest
        let owners = [0, 0, 0, 1, 1, 2, 2]
        for rank in 0..<3 {
            if case .microBatch(let id) = point, owners[id] != rank { continue }
            let faults = FaultInjector()
            faults.failAt(rank: rank, step: step, point)
            let died = try inMortalWorld(of: 3) { ring in
                let trainer = try makeTrainer(ring)
                trainer.faults = faults
                try trainer.run()
                #expect(trainer.weightsDigest == expected)
            }
            #expect(died == 1)
        }
    }

    /// The representations that went with the dead rank are found again, and everybody's gradients are what they were.
    @Test(arguments: [FaultInjector.Point.microBatch(0), .microBatch(3), .reduction, .commit]) func aLossOverTheGlobalBatch(point: FaultInjector.Point) throws {
        try ElasticTests.expectTheSameWeights(step: 4, point) { try GlobalLossTests.trainer($0) }
    }

    @Test(arguments: [FaultInjector.Point.microBatch(4), .reduction, .commit]) func batchNormalisation(point: FaultInjector.Point) throws {
        try ElasticTests.expectTheSameWeights(step: 4, point) { try BatchNormTests.trainer($0) }
    }

    /// A death in a step that is redone on coarser grids.
    @Test(arguments: [FaultInjector.Point.microBatch(2), .reduction, .commit]) func aStepThatIsRedone(point: FaultInjector.Point) throws {
        try ElasticTests.expectTheSameWeights(step: 5, point) { ring in
            try smallTrainer(ring) { loss, pass in
                pass.step == 4 && pass.microBatch == 6 ? Loss(sum: loss.sum * 0x1p40, weight: loss.weight) : loss
            }
        }
    }

    // MARK: The dynamic schedule

    /// Nobody dies; who computes what depends on the moment, and the bits do not.
    @Test(arguments: [1, 2, 3, 9]) func aDynamicScheduleGivesTheSameBits(worldSize: Int) throws {
        let expected = try ElasticTests.train(alone())
        try inWorld(of: worldSize) { ring in
            let curve = try ElasticTests.train(ring, assignment: .dynamic)
            #expect(curve == expected)
        }
    }
}
