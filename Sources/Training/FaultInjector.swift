import Synchronization

/// Has ranks die where a test says: their next visit to that point throws what nothing catches.
package final class FaultInjector: Sendable {
    /// A place in a step, or in what follows one.
    package enum Point: Hashable, Sendable {
        /// Before the micro-batch's forward pass.
        case microBatch(Int)
        /// After the last micro-batch's backward pass; buckets are on their way.
        case reduction
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
        /// Where the optimizer's state is shared out: when a step is decided, when this rank's part is updated, and while parts move, by number of
        /// the stretch.
        case decision
        case gathering
        case moving(Int)
    }

    /// What a rank dies of.
    package struct Death: Error {}

    private struct Place: Hashable {
        var rank: Int
        var step: Int
        var point: Point
    }

    private let places = Mutex<Set<Place>>([])

    package init() {}

    /// `step` counts from 1: the step that is being made; between two of them, the second.
    package func failAt(rank: Int, step: Int, _ point: Point) {
        places.withLock { _ = $0.insert(Place(rank: rank, step: step, point: point)) }
    }

    func visit(_ point: Point, rank: Int, step: Int) throws {
        let isFatal = places.withLock { $0.remove(Place(rank: rank, step: step, point: point)) != nil }
        if isFatal { throw Death() }
    }

    /// Whether every rank that was to die has come to its place.
    package var isUsedUp: Bool { places.withLock { $0.isEmpty } }
}

extension Trainer {
    /// For tests: changes one bit of the optimizer's state, as a fault of memory does.
    package func spoilState(_ state: Int, of parameter: String, element: Int) {
        let place = arena[parameter]!.offset + element
        stateArenas[state][place] = Float(bitPattern: stateArenas[state][place].bitPattern ^ 1 << 20)
    }
}
