import EventLoop
import Wire

/// The coordinator was in a rank's process and is lost with it. The lowest rank that lives takes its place, for one
/// purpose: all that are left form a ring, end the current step, write a checkpoint and stop.
extension Roster {
    /// Which members are to come, and until when they are waited for.
    struct Succession {
        var awaited: Set<UInt32>
        var deadline: Duration
    }

    /// The members notice the loss at different times: they are waited for this many times `peerTimeout`.
    private static let patience = 3

    /// A roster that awaits the members of one that is lost.
    package init(_ configuration: Coordinator.Configuration, succeeding inheritance: MemberProtocol.Inheritance) {
        self.init(configuration)
        let deadline = configuration.peerTimeout * Roster.patience
        state = .succeeding(Succession(awaited: Set(inheritance.heirs.map(\.rank)), deadline: deadline))
        start = .settled
        ring.generation = inheritance.generation
        ring.isExplained = true
        stopOrder = inheritance.reason
        actions.append(.tell(.lost(rank: Int(inheritance.coordinatorRank), cause: inheritance.cause)))
    }

    /// Whether a worker that joins is one of those that are awaited; with the last of them all are there.
    mutating func admitsHeir(_ rank: UInt32, of generation: UInt32) -> Bool {
        guard case .succeeding(var succession) = state, succession.awaited.remove(rank) != nil else { return false }
        state = succession.awaited.isEmpty ? .running : .succeeding(succession)
        ring.generation = max(ring.generation, generation)
        return true
    }

    /// Members that have not come by now are lost too, or have found another way.
    mutating func judgeSuccession() {
        guard case .succeeding(let succession) = state, now >= succession.deadline else { return }
        state = .running
        formIfComplete()
    }
}
