import Membership
import Testing
import Wire

@Suite struct RosterTests {
    private func member(_ rank: UInt32) -> MemberAddress {
        MemberAddress(rank: rank, host: "10.0.0.\(rank)", port: 7, hostName: "h\(rank)", processID: 100 + Int32(rank))
    }

    private func formed() -> Roster {
        var roster = Roster(worldSize: 3)
        #expect(roster.join(12, provenRank: 2, worldSize: 3, member: member(2)) == [])
        #expect(roster.join(10, provenRank: 0, worldSize: 3, member: member(0)) == [])
        #expect(roster.missing == [1])
        let all = [member(0), member(1), member(2)]
        #expect(
            roster.join(11, provenRank: 1, worldSize: 3, member: member(1)) == [
                .send(.ring(generation: 0, members: all), to: 10), .send(.ring(generation: 0, members: all), to: 11),
                .send(.ring(generation: 0, members: all), to: 12), .formed(generation: 0),
            ])
        return roster
    }

    @Test func theRingIsAnnouncedWhenTheLastHasJoined() {
        _ = formed()
    }

    @Test func aMemberThatGoesIsLostToTheOthersOnce() {
        var roster = formed()
        #expect(
            roster.closed(11, cause: "died") == [
                .send(.lost(rank: 1, cause: "died"), to: 10), .send(.lost(rank: 1, cause: "died"), to: 12), .lost(rank: 1),
            ])
        #expect(roster.closed(12, cause: "followed") == [])
    }

    /// 0 waits for 2, 2 for 1, and 1 for nobody.
    @Test func whoHoldsEverybodyUpIsNamed() {
        var roster = formed()
        #expect(roster.stalled(10, waitingFor: 2, limit: .seconds(2)) == [.judgeStall(after: .milliseconds(500))])
        #expect(roster.stalled(12, waitingFor: 1, limit: .seconds(2)) == [])
        let cause = "rank 2 waited for it for 2.0 s, and it for nobody: it is frozen, or busy with something else"
        #expect(
            roster.judgeStall() == [
                .send(.lost(rank: 1, cause: cause), to: 10), .send(.lost(rank: 1, cause: cause), to: 11),
                .send(.lost(rank: 1, cause: cause), to: 12), .lost(rank: 1),
            ])
        #expect(roster.judgeStall() == [])
        #expect(roster.closed(11, cause: "gone") == [], "its going is no news")
    }

    @Test func whereAllWaitTheJudgementEnds() {
        var roster = formed()
        for (connection, waitingFor) in [(10, 2), (11, 0), (12, 1)] {
            _ = roster.stalled(connection, waitingFor: UInt32(waitingFor), limit: .seconds(20))
        }
        #expect(roster.judgeStall().last == .lost(rank: 0))
    }

    @Test func itIsOverWhenAllHaveLeft() {
        var roster = formed()
        #expect(roster.leave(10) == [])
        #expect(roster.leave(12) == [])
        #expect(
            roster.leave(11) == [
                .send(.over, to: 10), .close(10), .send(.over, to: 11), .close(11), .send(.over, to: 12), .close(12),
            ])
        #expect(roster.closed(10, cause: "gone") == [])
    }

    @Test func whoGoesBeforeTheRingMayComeAgain() {
        var roster = Roster(worldSize: 2)
        _ = roster.join(1, provenRank: 0, worldSize: 2, member: member(0))
        #expect(roster.closed(1, cause: "restarted") == [])
        #expect(roster.missing == [0, 1])
        #expect(roster.join(2, provenRank: 0, worldSize: 2, member: member(0)) == [])
    }

    @Test func whatCannotBeIsRefusedWithTheReason() {
        var roster = Roster(worldSize: 2)
        _ = roster.join(1, provenRank: 0, worldSize: 2, member: member(0))
        func refusal(_ actions: [Roster.Action]) -> String? {
            guard actions.count == 2, case .send(.refuse(let reason), to: 9) = actions[0], actions[1] == .close(9)
            else { return nil }
            return reason
        }
        #expect(
            refusal(roster.join(9, provenRank: 0, worldSize: 2, member: member(0)))
                == "rank 0 is already there, as process 100 on h0")
        #expect(
            refusal(roster.join(9, provenRank: 1, worldSize: 3, member: member(1)))
                == "WORLD_SIZE is 3 for rank 1 and 2 for the coordinator")
        #expect(refusal(roster.join(9, provenRank: 5, worldSize: 2, member: member(5))) == "rank 5 in a world of 2")
        #expect(
            refusal(roster.join(9, provenRank: 1, worldSize: 2, member: member(0)))
                == "the handshake was rank 1's, the message is rank 0's")
        #expect(roster.missing == [1])
    }

    @Test func whoEndsBeforeJoiningIsNotWaitedFor() {
        var roster = Roster(worldSize: 2)
        _ = roster.join(1, provenRank: 0, worldSize: 2, member: member(0))
        #expect(
            roster.processEnded(rank: 1) == [
                .send(.refuse(reason: "rank 1 of 2 ended before it joined"), to: 1), .close(1),
            ])
        #expect(roster.processEnded(rank: 0) == [], "it has joined; its connection's end tells the rest")
        var complete = formed()
        #expect(complete.processEnded(rank: 1) == [])
    }

    @Test func theDeadlineNamesWhoIsMissing() {
        var roster = Roster(worldSize: 3)
        _ = roster.join(1, provenRank: 1, worldSize: 3, member: member(1))
        #expect(
            roster.deadlinePassed(limit: .seconds(60)) == [
                .send(.refuse(reason: "rank 0, 2 of 3 did not join within 60.0 s"), to: 1), .close(1),
            ])
        var complete = formed()
        #expect(complete.deadlinePassed(limit: .seconds(60)) == [])
    }
}
