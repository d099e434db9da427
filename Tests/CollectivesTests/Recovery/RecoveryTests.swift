import Collectives
import Glibc
import Membership
import TestSupport
import Testing

/// Real processes that are killed, frozen, started again and sent away in the middle of their work; the state at the end is the known one.
@Suite(.serialized) struct RecoveryTests {
    /// At each point of a step, each rank in turn.
    @Test(arguments: ExactRun.Point.allCases.filter { $0 != .copying })
    func whoeverDiesWhereverTheOthersGoOn(point: ExactRun.Point) throws {
        for rank in 0..<3 {
            let job = try ElasticJob(workers: 3, steps: 6, elements: 5000, deaths: [rank: "3:\(point.rawValue)"])
            defer { job.stop() }
            job.expectRightEnds(except: [rank])
            #expect(job.workers[rank].job.waitForEnd() == .killed(by: .kill))
            let formed = job.events.filter { if case .formed = $0 { true } else { false } }
            #expect(formed.count == 2, "\(job.events)")
            #expect(job.events.contains { if case .lost(rank: rank, _) = $0 { true } else { false } })
        }
    }

    @Test func severalAtOnceDownToOne() throws {
        let job = try ElasticJob(
            workers: 4, steps: 8, elements: 100, deaths: [0: "2:underWay", 1: "2:underWay", 3: "5:beforeCommit"])
        defer { job.stop() }
        job.expectRightEnds(except: [0, 1, 3])
        #expect(job.workers[2].job.lines.contains { $0.hasSuffix("of 1") })
    }

    /// One that is ahead dies while it gives its state to those behind; then those who were behind do the section themselves.
    @Test func theSourceOfACopyDiesInTheMiddleOfIt() throws {
        // Rank 1 dies at its commit. Of the others at least one may be ahead; where none is, nothing is copied, and nothing dies.
        for _ in 0..<3 {
            let job = try ElasticJob(
                workers: 4, steps: 6, elements: 200_000, deaths: [1: "3:beforeCommit", 0: "4:copying", 2: "4:copying"])
            defer { job.stop() }
            for index in [0, 2, 3] {
                let ending = job.workers[index].job.waitForEnd()
                if ending == .killed(by: .kill) { continue }
                #expect(ending == .exited(status: 0))
                #expect(job.workers[index].job.lines.last?.hasSuffix("true") == true, "\(job.workers[index].job.lines.suffix(3))")
            }
        }
    }

    @Test func aWorkerComesBack() throws {
        let job = try ElasticJob(workers: 3, elements: 3000, stepMicroseconds: 1000, deaths: [1: "20:underWay"])
        defer { job.stop() }
        #expect(job.workers[1].job.waitForEnd() == .killed(by: .kill))
        try job.start(rank: 1)
        job.waitForLine(3, "joined as a newcomer")
        #expect(job.workers[3].job.waitForLine { $0.hasPrefix("step") && $0.hasSuffix("of 3") } != nil)
        job.finish(by: 3)
        job.expectRightEnds(except: [1])
        #expect(job.events.contains(.formed(generation: 3, ranks: [0, 1, 2])))
    }

    /// Newcomers that die while they prepare, or in the middle of getting the state.
    @Test func newcomersThatDieDisturbNobody() throws {
        let job = try ElasticJob(workers: 2, elements: 50_000, stepMicroseconds: 500)
        defer { job.stop() }
        job.waitForLine(0, "step 5 ")
        job.coordinator.scale(to: 4)
        try job.start(rank: 2, death: "0:copying")
        #expect(job.workers[2].job.waitForEnd() == .killed(by: .kill))
        let early = try job.start(rank: 3)
        early.signal(SIGKILL)
        try job.start(rank: 2)
        #expect(job.workers[4].job.waitForLine { $0.hasPrefix("step") && $0.hasSuffix("of 3") } != nil)
        job.finish(by: 0)
        job.expectRightEnds(except: [2, 3])
    }

    @Test func theJobGrowsAndShrinksOnRequest() throws {
        let job = try ElasticJob(workers: 2, elements: 1000, stepMicroseconds: 500)
        defer { job.stop() }
        job.waitForLine(0, "step 5 ")
        job.coordinator.scale(to: 4)
        try job.start(rank: 2)
        try job.start(rank: 3)
        for index in 0..<4 { #expect(job.workers[index].job.waitForLine { $0.hasSuffix("of 4") } != nil) }
        job.coordinator.scale(to: 1)
        for index in 1..<4 {
            job.waitForLine(index, "departed")
            #expect(job.workers[index].job.waitForEnd() == .exited(status: 0))
        }
        #expect(job.workers[0].job.waitForLine { $0.hasPrefix("step") && $0.hasSuffix("of 1") } != nil)
        job.finish(by: 0)
        job.expectRightEnds(except: [1, 2, 3])
    }

    @Test func aFrozenWorkerIsFencedAndLeavesWhenItWakes() throws {
        try expectOnce(within: .seconds(6), attempts: 3, timeToFence)
    }

    /// How long it takes until the others go on without a worker that is frozen.
    private func timeToFence() throws -> Duration {
        // Who lives gives a sign of it in this time, however busy the machine is.
        let job = try ElasticJob(workers: 3, elements: 1000, stepMicroseconds: 300) { $0.peerTimeout = .seconds(4) }
        defer { job.stop() }
        job.waitForLine(2, "step 5 ")
        let start = ContinuousClock.now
        job.workers[1].job.signal(SIGSTOP)
        #expect(job.workers[0].job.waitForLine { $0.hasPrefix("step") && $0.hasSuffix("of 2") } != nil)
        let time = ContinuousClock.now - start
        #expect(time > .milliseconds(2800), "fenced after \(time)")
        #expect(job.events.contains(.fenced(rank: 1)))
        job.workers[1].job.signal(SIGCONT)
        #expect(job.waitForLine(1, "failed")?.contains("fenced") == true)
        #expect(job.workers[1].job.waitForEnd() == .exited(status: 76))
        job.finish(by: 0)
        job.expectRightEnds(except: [1])
        return time
    }

    /// With too few workers the run waits; if none comes it is ordered to stop.
    @Test func tooFewWorkersWaitForMore() throws {
        let job = try ElasticJob(workers: 3, steps: 200, elements: 100, stepMicroseconds: 200, deaths: [0: "20:begin", 2: "100:begin"]) {
            $0.minWorkers = 3
            // Time enough for a process to start.
            $0.rejoinTimeout = .seconds(6)
        }
        defer { job.stop() }
        #expect(job.workers[0].job.waitForEnd() == .killed(by: .kill))
        try job.start(rank: 0)
        // Again three; then rank 2 dies too, and stays away.
        let line = job.waitForLine(1, "stopped")
        #expect(line?.contains("2 of the 3 workers") == true, "\(line ?? "")")
        #expect(job.events.contains(.waitingForWorkers(have: 2, need: 3)))
        for index in [1, 3] { #expect(job.workers[index].job.waitForEnd() == .exited(status: 0)) }
    }

    /// Kills at random instants; whoever dies comes back.
    @Test func manyDeathsOneState() throws {
        var generator = SeededGenerator(seed: UInt64(getpid()))
        let job = try ElasticJob(workers: 4, elements: 20_000, stepMicroseconds: 200)
        defer { job.stop() }
        /// The worker that each rank is now.
        var living = [0, 1, 2, 3]
        var gone: Set<Int> = []
        var seconds: [Double] = []
        job.waitForLine(0, "step 1 ")
        for round in 0..<12 {
            usleep(UInt32.random(in: 1000..<40_000, using: &generator))
            let first = Int.random(in: 0..<4, using: &generator)
            // Every third time two at once.
            let ranks = round % 3 == 2 ? [first, (first + 1) % 4] : [first]
            let killed = nanoseconds()
            for rank in ranks {
                job.workers[living[rank]].job.signal(SIGKILL)
                gone.insert(living[rank])
            }
            for rank in ranks {
                #expect(job.workers[living[rank]].job.waitForEnd() == .killed(by: .kill))
                job.coordinator.processEnded(rank: rank, willReturn: true)
                try job.start(rank: rank)
                living[rank] = job.workers.count - 1
            }
            for rank in ranks { job.waitForLine(living[rank], "step") }
            let began = living.flatMap { job.workers[$0].job.lines }
                .filter { $0.hasPrefix("began") }.compactMap { Int($0.split(separator: " ")[1]) }.filter { $0 > killed }.min()
            if let began { seconds.append(Double(began - killed) * 1e-9) }
        }
        job.finish(by: living[0])
        job.expectRightEnds(except: gone)
        print("\(gone.count) deaths; from kill to the next body, ms: \(seconds.map { ($0 * 1e4).rounded() / 10 })")
    }

    private func nanoseconds() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }
}
