import Collectives
import Glibc
import Membership
import Synchronization
import TestSupport
import Testing
import Wire

@Suite(.serialized) struct RingTests {
    @Test(arguments: [1, 2, 3, 4, 5, 8])
    func sumsOverRealSockets(worldSize: Int) throws {
        try inWorld(of: worldSize) { ring in
            for count in [0, 1, worldSize - 1, worldSize, worldSize + 1, 1009, 65_537, 1_000_003] {
                var values = (0..<count).map { Float(($0 % 1013) * (ring.rank + 1)) }
                try values.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
                let factor = worldSize * (worldSize + 1) / 2
                for index in 0..<count where values[index] != Float((index % 1013) * factor) {
                    Issue.record("count \(count), index \(index): \(values[index])")
                    return
                }
            }
            try ring.barrier()
        }
    }

    @Test func carriersAreRoundedOnceAndKept() throws {
        try inWorld(of: 3) { ring in
            let count = 10_001
            // 1 + 2^-40 + 2^-40: each addition in float32 would lose the small ones, the exact sum does not.
            let carriers = [Double](repeating: ring.rank == 0 ? 1 : 0x1p-24 + 0x1p-40, count: count)
            var result = [Float](repeating: 0, count: count)
            try carriers.withUnsafeBufferPointer { carriers in
                try result.withUnsafeMutableBufferPointer {
                    try ring.wait(for: ring.startAllReduce(carriers: carriers, into: $0.baseAddress!))
                }
            }
            #expect(result.allSatisfy { $0 == Float(1 + 2 * (0x1p-24 + 0x1p-40)) })
            #expect(carriers[0] == (ring.rank == 0 ? 1 : 0x1p-24 + 0x1p-40))
        }
    }

    /// More of them than may be under way, short ones that are exchanges, long ones on the ring, and both in turns.
    /// More than there is room for, too, which must be worked at although nobody waits yet.
    @Test(arguments: [([50], 1500), ([20_000], 150), ([7, 20_000, 1, 0], 1200)], [true, false, nil])
    func manyOperationsUnderWay(shape: (counts: [Int], operations: Int), overlap: Bool?) throws {
        let (counts, operations) = shape
        try inWorld(of: 4, overlap: overlap) { ring in
            let ranges = (0..<operations).reduce(into: [Range<Int>]()) { ranges, number in
                let start = ranges.last?.upperBound ?? 0
                ranges.append(start..<(start + counts[number % counts.count]))
            }
            let memory = UnsafeMutableBufferPointer<Float>.allocate(capacity: ranges.last?.upperBound ?? 0)
            defer { memory.deallocate() }
            for index in memory.indices { memory[index] = Float(index % 100 + ring.rank) }
            let first = try #require(memory.baseAddress)
            var last: Ring.Ticket?
            for range in ranges {
                last = try ring.startAllReduce(UnsafeBufferPointer(rebasing: memory[range]), into: first + range.lowerBound)
            }
            try ring.wait(for: #require(last))
            for index in memory.indices where memory[index] != Float(4 * (index % 100) + 6) {
                Issue.record("index \(index): \(memory[index])")
                return
            }
        }
    }

    /// Operations in which some ranks only send: those may be far ahead of the others, which must bear it.
    @Test func whoOnlySendsMayBeFarAhead() throws {
        try inWorld(of: 3) { ring in
            for round in 0..<100 {
                if ring.rank == 2, round % 10 == 0 { usleep(2000) }
                var value = [Int32(ring.rank + round)]
                try value.withUnsafeMutableBufferPointer { try ring.reduceScatter($0) }
                if ring.rank == 0 { #expect(value[0] == Int32(3 * round + 3)) }
            }
            for round in 0..<100 {
                if ring.rank == 2, round % 10 == 0 { usleep(2000) }
                var value = [Int32(ring.rank == 0 ? round : -1)]
                try value.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: 0) }
                #expect(value[0] == Int32(round))
            }
        }
    }

    @Test(arguments: [1000, 300_000]) func aWorkerThatGoesIsNamedByAll(count: Int) throws {
        let coordinator = try LocalCoordinator(worldSize: 3)
        defer { coordinator.stop() }
        let named = Mutex<[Int]>([])
        let haveFirstSum = Atomic<Int>(0)
        inThreads(3) { rank in
            do {
                var ring: Ring? = try Ring(coordinator.environment(rank: rank))
                var values = [Float](repeating: 1, count: count)
                try values.withUnsafeMutableBufferPointer { try ring?.allReduce($0) }
                haveFirstSum.add(1, ordering: .releasing)
                if rank == 1 {
                    // Dropped without `close`, once all have the first sum: to the others this rank has died.
                    while haveFirstSum.load(ordering: .acquiring) < 3 { sched_yield() }
                    ring = nil
                    return
                }
                try values.withUnsafeMutableBufferPointer { try ring?.allReduce($0) }
                Issue.record("rank \(rank) got a sum without rank 1")
            } catch CollectiveError.peerLost(let lost, _, let operation, _, _) {
                #expect(operation == 1)
                named.withLock { $0.append(lost) }
            } catch {
                Issue.record("rank \(rank): \(error)")
            }
        }
        #expect(named.withLock { $0 } == [1, 1])
    }

    @Test func aFrozenNeighbourEndsInTheTimeOut() throws {
        let coordinator = try LocalCoordinator(worldSize: 2)
        defer { coordinator.stop() }
        let isDone = Atomic<Bool>(false)
        inThreads(2) { rank in
            do {
                let ring = try Ring(coordinator.environment(rank: rank, timeout: 4))
                if rank == 1 {
                    // Never calls the operation that rank 0 waits for.
                    while !isDone.load(ordering: .acquiring) { usleep(1000) }
                    return
                }
                defer { isDone.store(true, ordering: .releasing) }
                var values: [Float] = [1, 2]
                let error = #expect(throws: CollectiveError.self) {
                    try values.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
                }
                guard case .peerLost(rank: 1, _, operation: 0, _, let cause) = error else {
                    Issue.record("\(String(describing: error))")
                    return
                }
                // How long it says is how long it was: no less than the limit.
                let seconds = cause.dropFirst("rank 0 waited ".count).split(separator: " ").first.flatMap { Double($0) }
                #expect(cause.hasPrefix("rank 0 waited ") && seconds ?? 0 >= 4, "\(cause)")
            } catch {
                Issue.record("rank \(rank): \(error)")
            }
        }
    }

    @Test func missingRanksAreNamed() throws {
        // Time enough for rank 1 to join, however busy the machine is.
        let coordinator = try LocalCoordinator(worldSize: 3, joinTimeLimit: .seconds(3))
        defer { coordinator.stop() }
        #expect(throws: MembershipError.refused(reason: "rank 0, 2 of 3 did not join within 3.0 s")) {
            _ = try Ring(coordinator.environment(rank: 1))
        }
    }

    @Test func anotherSecretIsRefused() throws {
        let coordinator = try LocalCoordinator(worldSize: 2)
        defer { coordinator.stop() }
        let error = #expect(throws: MembershipError.self) {
            _ = try Ring(coordinator.environment(rank: 1, secret: .random()))
        }
        #expect(error?.description.contains("another secret") == true)
    }

    /// Memory that is given back while an operation reads and writes it would be found by the next who gets it.
    @Test func aBodyThatFailsLeavesNothingUnderWay() throws {
        struct Failure: Error {}
        let hasFailed = Atomic<Bool>(false)
        try inWorld(of: 3) { ring in
            if ring.rank == 1 {
                let values = UnsafeMutableBufferPointer<Float>.allocate(capacity: 8 << 20)
                values.initialize(repeating: 1)
                #expect(throws: Failure.self) {
                    try ring.section {
                        _ = try ring.startAllReduce(UnsafeBufferPointer(values), into: values.baseAddress!)
                        throw Failure()
                    }
                }
                hasFailed.store(true, ordering: .relaxed)
                // Nobody else has it from here on.
                for index in values.indices { values[index] = 7 }
                #expect(values.allSatisfy { $0 == 7 })
                values.deallocate()
                #expect(throws: CollectiveError.self) { try ring.barrier() }
                return
            }
            // Until then the operation cannot have ended. The others go on without that rank.
            while !hasFailed.load(ordering: .relaxed) { usleep(500) }
            let outcome = try ring.section {
                var values = [Float](repeating: 1, count: 8 << 20)
                try values.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
                #expect(values.allSatisfy { $0 == Float(ring.worldSize) })
                return [Double(ring.worldSize)]
            }
            #expect(outcome.values == [2])
        }
    }

    /// An error in a body that has nothing under way is the program's own business.
    @Test func aBodyMayFailWithoutHarm() throws {
        struct Failure: Error {}
        try inWorld(of: 2) { ring in
            #expect(throws: Failure.self) {
                try ring.section {
                    try ring.barrier()
                    throw Failure()
                }
            }
            try ring.section {
                try ring.barrier()
                return []
            }
        }
    }

    /// Its operations would be those of a world of one, and nobody would notice.
    @Test func aNewcomerHasNoRingBeforeItEnters() throws {
        let coordinator = try LocalCoordinator(worldSize: 2)
        defer { coordinator.stop() }
        let steps = Atomic<Int>(0)
        let hasEntered = Atomic<Bool>(false)
        inThreads(3) { rank in
            do {
                if rank == 2 {
                    while steps.load(ordering: .relaxed) == 0 { usleep(500) }
                    coordinator.scale(to: 3)
                }
                let ring = try Ring(try coordinator.environment(rank: rank))
                if ring.isNewcomer {
                    #expect(throws: CollectiveError.notEntered) { try ring.barrier() }
                }
                let run = ExactRun(ring: ring, elements: 10)
                run.wantsStop = { hasEntered.load(ordering: .relaxed) }
                while !run.isStopAgreed {
                    try run.step()
                    steps.store(run.steps, ordering: .relaxed)
                    if ring.worldSize == 3 { hasEntered.store(true, ordering: .relaxed) }
                }
                ring.close()
                #expect(throws: CollectiveError.closed) { try ring.barrier() }
                #expect(run.digest.hasSuffix("true"))
            } catch {
                Issue.record("rank \(rank): \(error)")
                hasEntered.store(true, ordering: .relaxed)
            }
        }
        let didEnter = hasEntered.load(ordering: .relaxed)
        #expect(didEnter)
    }
}
