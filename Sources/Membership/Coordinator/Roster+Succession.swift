import EventLoop
import Wire

/// The coordinator was in a rank's process and is lost with it. The lowest rank that lives takes its place, for one thing: all who are left
/// form a ring, end the step at hand, write a checkpoint and stop.
extension Roster {
    /// They notice the loss at different times: so many times `peerTimeout` they are waited for.
    private static let patience = 3

    /// A roster that awaits the members of one that is lost.
    package init(_ configuration: Coordinator.Configuration, succeeding inheritance: MemberProtocol.Inheritance) {
        self.init(configuration)
        generation = inheritance.generation
        hasBegun = true
        isExplained = true
        stopOrder = inheritance.reason
        awaited = Set(inheritance.heirs.map(\.rank))
        actions.append(.tell(.lost(rank: Int(inheritance.coordinatorRank), cause: inheritance.cause)))
        awaitedUntil = configuration.peerTimeout * Roster.patience
    }

    /// Whoever has not come by now is lost too, or has found another way.
    mutating func judgeSuccession() {
        guard let until = awaitedUntil, now >= until else { return }
        awaitedUntil = nil
        awaited = []
        formIfComplete()
    }
}
