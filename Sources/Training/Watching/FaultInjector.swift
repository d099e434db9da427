import Glibc
import Synchronization

/// Has ranks die where a test says: their next visit to that point throws what nothing catches.
package final class FaultInjector: Sendable {
    /// A place in a step, or in what follows one.
    package enum Point: Hashable, Sendable {
        /// Before the micro-batch's forward pass.
        case microBatch(Int)
        /// After the last micro-batch's backward pass; buckets are on their way.
        case reduction
        /// When this rank has the sums of that bucket, and of all before it.
        case bucket(Int)
        /// When this rank has all sums.
        case commit
        /// Before one of an evaluation's micro-batches.
        case evaluation(Int)
        /// Before the comparison of states.
        case comparison
        /// Before the checkpoint is begun, and when it has been written or its writing goes on behind.
        case save
        case saved
        /// While the state is copied to others, by number of the array.
        case synchronisation(Int)
        /// Where the optimizer's state is shared out: when a step is decided, when this rank's part is updated; while parts move, by number of
        /// the parcel, and when this rank has its own.
        case decision
        case gathering
        case moving(Int)
        case moved
    }

    /// What a rank dies of.
    package struct Death: Error {}

    private struct Place: Hashable {
        var rank: Int
        var step: Int
        var point: Point
    }

    /// Where those that die together wait for each other.
    private final class Meeting: Sendable {
        // SAFETY (nonisolated(unsafe)): made here, used by pthread_barrier_wait(3) only, and ended with the last reference.
        private nonisolated(unsafe) let barrier = UnsafeMutablePointer<pthread_barrier_t>.allocate(capacity: 1)

        init(count: Int) {
            let code = pthread_barrier_init(barrier, nil, UInt32(count))
            precondition(code == 0)
        }

        deinit {
            pthread_barrier_destroy(barrier)
            barrier.deallocate()
        }

        func wait() {
            _ = pthread_barrier_wait(barrier)
        }
    }

    private let places = Mutex<[Place: Meeting]>([:])

    package init() {}

    /// `step` counts from 1: the step that is being made; between two of them, the second.
    package func failAt(rank: Int, step: Int, _ point: Point) {
        failTogether([(rank, point)], step: step)
    }

    /// None of them dies before all have come to their places.
    package func failTogether(_ deaths: [(rank: Int, point: Point)], step: Int) {
        let meeting = Meeting(count: deaths.count)
        places.withLock { places in
            for death in deaths { places[Place(rank: death.rank, step: step, point: death.point)] = meeting }
        }
    }

    func visit(_ point: Point, rank: Int, step: Int) throws {
        guard let meeting = places.withLock({ $0.removeValue(forKey: Place(rank: rank, step: step, point: point)) }) else { return }
        meeting.wait()
        throw Death()
    }

    /// Whether every rank that was to die has come to its place.
    package var isUsedUp: Bool { places.withLock { $0.isEmpty } }
}

extension Trainer {
    /// For tests: how many buckets did not have to be reduced again after the loss of a rank.
    package var keptBuckets: Int { reducer?.keptBuckets ?? 0 }

    /// For tests: changes one bit of the optimizer's state, as a fault of memory does.
    package func spoilState(_ state: Int, of parameter: String, element: Int) {
        let place = arena[parameter]!.offset + element
        stateArenas[state][place] = Float(bitPattern: stateArenas[state][place].bitPattern ^ 1 << 20)
    }
}
