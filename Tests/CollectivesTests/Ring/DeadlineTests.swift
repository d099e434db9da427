import Collectives
import Glibc
import Membership
import Synchronization
import TestSupport
import Testing

/// What ranks are told, and how soon, when an operation cannot end.
@Suite(.serialized) struct DeadlineTests {
    private struct Told {
        var rank: Int
        var error: CollectiveError?
        var exclusion: MembershipError?
        var after: Duration
    }

    /// A peer that dies in the middle of operations: every other rank's operation fails within 100 ms, and names it.
    @Test(arguments: [2, 3, 5])
    func theDeathOfAPeerIsToldInTime(worldSize: Int) throws {
        try expectOnce(within: .milliseconds(100), attempts: 30) { try timeToTellADeath(worldSize: worldSize) }
    }

    /// How long it takes until all ranks but the last, which dies, have been told so.
    private func timeToTellADeath(worldSize: Int) throws -> Duration {
        let coordinator = try LocalCoordinator(worldSize: worldSize)
        defer { coordinator.stop() }
        let death = Mutex<ContinuousClock.Instant?>(nil)
        let told = Mutex<[Told]>([])
        inThreads(worldSize) { rank in
            do {
                var ring: Ring? = try Ring(coordinator.environment(rank: rank))
                var values = [Float](repeating: 1, count: 100_000)
                for _ in 0..<20 { try values.withUnsafeMutableBufferPointer { try ring?.allReduce($0) } }
                if rank == worldSize - 1 {
                    // Dropped without `close`: to the others this rank has died.
                    death.withLock { $0 = .now }
                    ring = nil
                    return
                }
                while true { try values.withUnsafeMutableBufferPointer { try ring?.allReduce($0) } }
            } catch {
                let now = ContinuousClock.now
                let after = death.withLock { $0.map { now - $0 } } ?? .zero
                told.withLock { $0.append(Told(rank: rank, error: error as? CollectiveError, after: after)) }
            }
        }
        let all = told.withLock { $0 }
        #expect(all.count == worldSize - 1)
        for one in all {
            guard case .peerLost(rank: worldSize - 1, _, operation: let operation, bytesMoved: let bytes, _) = one.error else {
                Issue.record("rank \(one.rank): \(String(describing: one.error))")
                continue
            }
            // The twentieth may not have ended here when the last rank had its sum.
            #expect(operation >= 19 && bytes > 0)
        }
        return all.map(\.after).max() ?? .zero
    }

    /// A rank that does not take part: all ranks fail about when the time is up, and name it.
    @Test func everyRankFailsWithinTheTimeOut() throws {
        try expectOnce(within: .seconds(6), attempts: 3) { try timeToFail(worldSize: 4, timeout: 4) }
    }

    /// How long it takes until all ranks have failed for rank 2, which does not take part. Of those who wait the coordinator hears within a
    /// quarter of the time-out: so it is seconds, and not less.
    private func timeToFail(worldSize: Int, timeout: Int) throws -> Duration {
        let coordinator = try LocalCoordinator(worldSize: worldSize)
        defer { coordinator.stop() }
        let told = Mutex<[Told]>([])
        let failed = Atomic<Int>(0)
        inThreads(worldSize) { rank in
            var start = ContinuousClock.now
            do {
                let ring = try Ring(coordinator.environment(rank: rank, timeout: timeout))
                var values = [Float](repeating: 1, count: 10_000)
                try values.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
                start = .now
                // Rank 2 computes for ever. It learns of the failure at its next operation.
                if rank == 2 { while failed.load(ordering: .acquiring) < worldSize - 1 { usleep(1000) } }
                try values.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
                Issue.record("rank \(rank) got a sum without rank 2")
            } catch {
                let after = ContinuousClock.now - start
                told.withLock {
                    $0.append(Told(rank: rank, error: error as? CollectiveError, exclusion: error as? MembershipError, after: after))
                }
                failed.add(1, ordering: .releasing)
            }
        }
        let all = told.withLock { $0 }
        #expect(all.count == worldSize)
        for one in all {
            #expect(one.after >= .seconds(timeout) * 9 / 10, "rank \(one.rank): \(one.after)")
        }
        // Three ranks wait, each for the one before it; all are told who holds them up, and for whom that shows; and it is sent away.
        for one in all {
            if one.rank == 2 {
                #expect(one.exclusion?.description.contains("fenced") == true, "\(String(describing: one.exclusion))")
                continue
            }
            guard case .peerLost(rank: 2, _, operation: 1, _, let cause) = one.error else {
                Issue.record("rank \(one.rank): \(String(describing: one.error))")
                continue
            }
            let seconds = cause.dropFirst("rank 3 waited ".count).split(separator: " ").first.flatMap { Double($0) } ?? 0
            #expect(cause.hasPrefix("rank 3 waited ") && seconds >= Double(timeout), "\(cause)")
            #expect(cause.contains(" s for it; it was waiting for nobody: "), "\(cause)")
        }
        return all.map(\.after).max() ?? .zero
    }
}
