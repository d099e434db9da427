import Collectives
import Synchronization
import TestSupport
import Testing
import Training

private struct Refusal: Error, Equatable {}

@Test(arguments: [1, 2, 3, 5]) func whatGoesWellEverywhereReturns(worldSize: Int) throws {
    try inWorld(of: worldSize) { ring in
        let twice = try ring.together("counting") { ring.rank * 2 }
        #expect(twice == ring.rank * 2)
    }
}

/// The lowest rank that failed has the cause; the others, whether they failed or not, have its rank.
@Test(arguments: [(1, [0]), (3, [2]), (4, [1, 3]), (3, [0, 1, 2])])
func aFailureIsKnownToAll(worldSize: Int, failing: [Int]) throws {
    let caught = Mutex(0)
    try inWorld(of: worldSize) { ring in
        do {
            try ring.together("counting") { if failing.contains(ring.rank) { throw Refusal() } }
            Issue.record("rank \(ring.rank) heard of no failure")
        } catch let failure as SharedFailure {
            #expect(failure.rank == failing[0] && failure.what == "counting")
            #expect((failure.cause as? Refusal != nil) == (ring.rank == failing[0]))
            caught.withLock { $0 += 1 }
        }
        // The ring is as good as before.
        try ring.barrier()
    }
    #expect(caught.withLock { $0 } == worldSize)
}
