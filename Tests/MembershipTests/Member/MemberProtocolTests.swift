import Membership
import Testing
import Wire

/// A worker's side of the conversation: what is said in which state, and until when answers are waited for.
@Suite struct MemberProtocolTests {
    private static let waitLimit = Duration.seconds(120)

    private func member(coordinatorRank: UInt32? = nil) -> MemberProtocol {
        MemberProtocol(rank: 1, coordinator: "a:1", coordinatorRank: coordinatorRank, waitLimit: Self.waitLimit)
    }

    private static func address(_ rank: UInt32) -> MemberAddress {
        MemberAddress(rank: rank, host: "10.0.0.\(rank)", port: 7, hostName: "h\(rank)", processID: 1, successorPort: 9)
    }

    private func join(_ generation: UInt32 = 0) -> MemberProtocol.Event {
        .join(.init(generation: generation, isOpen: false, isBoundary: false, worldSize: 3, member: Self.address(1)))
    }

    private func ring(_ generation: UInt32, _ ranks: [UInt32] = [0, 1, 2]) -> MemberProtocol.Event {
        .said(.ring(.init(generation: generation, members: ranks.map(Self.address), retiring: [], stop: nil)))
    }

    /// What these actions are, as text.
    private func text(_ actions: [MemberProtocol.Action]) -> [String] {
        actions.map { action in
            switch action {
            case .send(.join): "join"
            case .send(let message): "send \(message)"
            case .tell(.announced(let ring)): "announced \(ring.generation)"
            case .tell(.failed(let error)): "failed: \(error)"
            case .tell(let notice): "\(notice)"
            case .close: "close"
            case .findSuccessor(let inheritance): "find \(inheritance.heirs.map(\.rank)) \(inheritance.generation)"
            }
        }
    }

    @Test func aJoinIsAnsweredByARing() {
        var member = member()
        #expect(text(member.receive(join(), at: .zero)) == ["join"])
        // It has asked already.
        #expect(text(member.receive(join(), at: .seconds(1))) == [])
        #expect(text(member.receive(ring(1), at: .seconds(2))) == ["announced 1"])
        #expect(member.nextDeadline == nil)
        #expect(text(member.receive(.leave, at: .seconds(3))) == ["send leave"])
        #expect(text(member.receive(.said(.over), at: .seconds(4))) == ["close", "over"])
        #expect(text(member.receive(join(1), at: .seconds(5))) == [])
    }

    /// Any word of the coordinator's gives it the whole time again.
    @Test func aCoordinatorThatOwesAnAnswerMustBeHeardOf() {
        var member = member()
        _ = member.receive(join(), at: .zero)
        #expect(member.nextDeadline == Self.waitLimit)
        #expect(text(member.receive(.said(.ping), at: .seconds(100))) == ["send pong"])
        #expect(text(member.receive(.tick, at: Self.waitLimit)) == [])
        let end = Duration.seconds(100) + Self.waitLimit
        #expect(member.nextDeadline == end)
        let lost = "failed: lost the coordinator at a:1: nothing was heard of it for 120.0 s"
        #expect(text(member.receive(.tick, at: end)) == ["close", lost])
        #expect(member.nextDeadline == nil)
    }

    /// The others may be at work for long.
    @Test func whoHasLeftWaitsForTheOthersForAWhileOnly() {
        var member = member()
        _ = member.receive(join(), at: .zero)
        _ = member.receive(ring(1), at: .zero)
        _ = member.receive(.leave, at: .seconds(1))
        #expect(member.nextDeadline == .seconds(1) + MemberProtocol.leaveTimeLimit)
        #expect(text(member.receive(.said(.ping), at: .seconds(9))) == ["send pong"])
        #expect(text(member.receive(.tick, at: .seconds(11))) == ["close", "over"])
    }

    @Test(arguments: [[0, 2], [1, 0, 2], []] as [[UInt32]]) func aRingThatCannotBeEndsTheConversation(ranks: [UInt32]) {
        var member = member()
        _ = member.receive(join(), at: .zero)
        let actions = text(member.receive(ring(1, ranks), at: .zero))
        #expect(actions == ["close", "failed: lost the coordinator at a:1: it announced a ring that cannot be"])
    }

    @Test func anAnswerThatWasNotAskedForEndsTheConversation() {
        var member = member()
        let actions = text(member.receive(.said(.prepare), at: .zero))
        #expect(actions == ["close", "failed: lost the coordinator at a:1: it answered what was not asked"])
    }

    /// The coordinator is lost with its rank: another member takes its place, and gets the join that was not answered.
    @Test(arguments: [true, false]) func aJoinWithoutAnAnswerGoesToTheSuccessor(isJoined: Bool) {
        var member = member(coordinatorRank: 0)
        _ = member.receive(join(), at: .zero)
        _ = member.receive(ring(1), at: .zero)
        if isJoined { _ = member.receive(join(1), at: .zero) }
        _ = member.receive(.said(.lost(rank: 2, cause: "died")), at: .zero)
        let actions = text(member.receive(.connectionEnded(cause: "gone"), at: .seconds(1)))
        #expect(actions.last == "find [1] 1")
        #expect(member.nextDeadline == nil)
        #expect(text(member.receive(.connectionEnded(cause: "again"), at: .seconds(1))) == [])
        // What it asks meanwhile is sent later.
        if !isJoined { #expect(text(member.receive(join(1), at: .seconds(2))) == []) }
        #expect(text(member.receive(.adopted(by: 1), at: .seconds(3))) == ["join"])
        #expect(member.nextDeadline == .seconds(3) + Self.waitLimit)
    }

    @Test func withoutASuccessorTheCoordinatorIsLost() {
        // A launcher's place is taken by none, and before the first ring there is nothing to be kept.
        for isLaunchers in [true, false] {
            var member = member(coordinatorRank: isLaunchers ? nil : 0)
            _ = member.receive(join(), at: .zero)
            if isLaunchers { _ = member.receive(ring(1), at: .zero) }
            let actions = text(member.receive(.connectionEnded(cause: "gone"), at: .zero))
            #expect(actions == ["close", "failed: lost the coordinator at a:1: gone"])
        }
        var member = member(coordinatorRank: 0)
        _ = member.receive(join(), at: .zero)
        _ = member.receive(ring(1), at: .zero)
        _ = member.receive(.connectionEnded(cause: "gone"), at: .zero)
        let actions = text(member.receive(.notAdopted(cause: "none came"), at: .zero))
        #expect(actions == ["close", "failed: lost the coordinator at a:1: none came"])
    }
}
