import Membership
import Testing
import Wire

/// The first world of a job whose ranks were started by hand: it is whole before the first step, or everybody learns at once why not.
@Suite struct RosterStartTests {
    private typealias Table = RosterTable

    private func table(_ worldSize: Int, formed: Bool = false) -> RosterTable {
        let configure: (inout Coordinator.Configuration) -> Void = { $0.ownRank = 0 }
        return formed ? Table.formed(worldSize, configure) : Table(worldSize: worldSize, configure)
    }

    private func reason(_ actions: [Roster.Action], to connections: [Int]) -> String? {
        let refusals = actions.refusals
        guard refusals.map(\.connection) == connections, Set(refusals.map(\.reason)).count == 1,
            actions.events.contains(.gaveUp(reason: refusals[0].reason))
        else { return nil }
        return refusals[0].reason
    }

    @Test func whoIsRefusedOnItsWayInEndsTheStartForAll() {
        var table = table(3)
        _ = table.join(0)
        _ = table.join(2)
        let actions = table.join(1, worldSize: 4)
        #expect(actions.isSent(.refuse(reason: "WORLD_SIZE is 4 for rank 1 and 3 for the coordinator"), to: 11))
        let told = actions.refusals.filter { $0.connection != 11 }
        #expect(told.map(\.connection) == [10, 12])
        #expect(told.allSatisfy { $0.reason == "rank 1 was refused: WORLD_SIZE is 4 for rank 1 and 3 for the coordinator" })
        let uninformed = table.roster.uninformed
        #expect(uninformed.isEmpty)
    }

    /// Started twice: the one that is there is not harmed, and people are told.
    @Test func aSecondOneOfARankHarmsNobody() {
        var table = table(2)
        _ = table.join(0)
        _ = table.join(1, over: 30)
        table = self.table(3)
        _ = table.join(0)
        _ = table.join(1)
        let actions = table.join(1, over: 31)
        #expect(actions.refusals.map(\.connection) == [31])
        guard case .refusedStranger("rank 1, process 101 on h1", _)? = actions.events.first else {
            Issue.record("\(actions)")
            return
        }
        #expect(table.join(2).ring?.ranks == [0, 1, 2])
    }

    @Test func whoSaysThatItEndsIsNotWaitedFor() {
        var table = table(3)
        _ = table.join(0)
        let actions = table.say(2, .failing(reason: "no such flag"))
        #expect(reason(actions, to: [10]) == "rank 2 of 3 ended before it joined: no such flag")
        // The last one comes later, and learns it too.
        #expect(table.roster.uninformed == [1])
        #expect(table.join(1).refusals.first?.reason == "rank 2 of 3 ended before it joined: no such flag")
        let uninformed = table.roster.uninformed
        #expect(uninformed.isEmpty)
    }

    @Test func whoIsLostBeforeTheFirstStepEndsTheStart() {
        var gathering = table(3)
        _ = gathering.join(0)
        _ = gathering.join(1)
        #expect(
            reason(gathering.receive(.closed(11, cause: "gone")), to: [10])
                == "rank 1 of 3 was lost before the first step: gone")
        var running = table(3, formed: true)
        #expect(
            reason(running.receive(.closed(11, cause: "gone")), to: [10, 12])
                == "rank 1 of 3 was lost before the first step: gone")
        // With its own words, and where the coordinator's process says it.
        var failing = table(3, formed: true)
        #expect(
            reason(failing.say(1, .failing(reason: "no data")), to: [10, 11, 12])
                == "rank 1 of 3 ended before the first step: no data")
        var own = table(2, formed: true)
        #expect(
            reason(own.receive(.giveUp(reason: "no data")), to: [10, 11]) == "rank 0 of 2 ended before the first step: no data")
    }

    @Test func afterTheFirstStepTheOthersGoOn() {
        var table = table(3, formed: true)
        #expect(table.say(2, .begun).isEmpty)
        #expect(table.say(1, .failing(reason: "a bug")).events == [.failing(rank: 1)])
        let actions = table.receive(.closed(11, cause: "gone"))
        #expect(actions.refusals.isEmpty && actions.events == [.lost(rank: 1, cause: "it ended: a bug")])
    }

    /// Somebody with a rank's number and another secret: the right one may still come.
    @Test func whoFailsToProveItselfIsDoubtedForAWhile() {
        var table = table(3)
        _ = table.join(0)
        _ = table.receive(.refusedStranger("h: another secret", claim: 2))
        _ = table.receive(.refusedStranger("h: another secret", claim: 77))
        #expect(table.roster.nextDeadline <= .seconds(3))
        table.now = .seconds(3)
        #expect(
            reason(table.receive(.tick), to: [10]) == "rank 2 of 3 did not join; refused was h: another secret")

        var other = self.table(2)
        _ = other.join(0)
        _ = other.receive(.refusedStranger("h: another secret", claim: 1))
        #expect(other.join(1).ring?.ranks == [0, 1])
        other.now = .seconds(4)
        #expect(other.receive(.tick).refusals.isEmpty)
        // Noise is nobody's.
        var third = self.table(2)
        _ = third.join(0)
        _ = third.receive(.refusedStranger("h: GET /", claim: nil))
        third.now = .seconds(4)
        #expect(third.receive(.tick).refusals.isEmpty)
    }

    @Test(arguments: ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
    func whoCanOnlyBeReachedFromItsOwnHostIsNamedAtOnce(host: String) throws {
        for isFarFirst in [true, false] {
            var table = table(2)
            var own = Table.member(0)
            own.host = host
            let far: (inout RosterTable) -> [Roster.Action] = { table in
                _ = table.receive(.isElsewhere(11, host: "10.0.0.9"))
                return table.join(1)
            }
            var actions = isFarFirst ? far(&table) : table.join(0, member: own)
            #expect(actions.refusals.isEmpty)
            actions = isFarFirst ? table.join(0, member: own) : far(&table)
            let said = try #require(reason(actions, to: [10, 11]))
            #expect(said.hasPrefix("MASTER_ADDR leads rank 0 to \(host), which is its own host only, and rank 1 comes from 10.0.0.9:"))
        }
    }

    /// All on one host.
    @Test func addressesOfOneHostAreNoTrouble() {
        var table = table(2)
        for rank in UInt32(0)..<2 {
            var member = Table.member(rank)
            member.host = "127.0.0.1"
            let ring = table.join(rank, member: member).ring
            #expect((ring != nil) == (rank == 1))
        }
    }

    @Test func withoutEveryConnectionThereIsNoFirstStep() throws {
        var table = table(3, formed: true)
        _ = table.say(1, .complain(rank: 2, cause: "port 10.0.0.2:7 does not answer"))
        #expect(table.join(1, generation: 1).refusals.isEmpty)
        _ = table.say(0, .complain(rank: 2, cause: "refused"))
        #expect(table.join(0, generation: 1).refusals.isEmpty)
        let all = try #require(reason(table.join(2, generation: 1), to: [10, 11, 12]))
        #expect(all.contains("rank 0 on h0 (10.0.0.0) has no connection with rank 2 on h2 (10.0.0.2): refused; rank 1 on h1"))
        #expect(all.contains("with rank 2 on h2 (10.0.0.2): port 10.0.0.2:7 does not answer (workers connect"))
        // One that does not come is not waited for.
        var other = self.table(3, formed: true)
        _ = other.say(1, .complain(rank: 2, cause: "no answer"))
        _ = other.join(1, generation: 1)
        other.now = .seconds(1)
        #expect(reason(other.receive(.tick), to: [10, 11, 12])?.contains("no answer") == true)
    }

    /// Under a launcher all this is the launcher's business.
    @Test func whereALauncherStartsWorkersAgainNothingOfThisHolds() {
        var table = Table(worldSize: 2)
        _ = table.join(0)
        _ = table.receive(.refusedStranger("h: another secret", claim: 1))
        #expect(table.say(1, .failing(reason: "a flag"), over: 30).refusals.isEmpty)
        #expect(table.join(1, worldSize: 3, over: 31).refusals.map(\.connection) == [31])
        table.now = .seconds(4)
        #expect(table.receive(.tick).refusals.isEmpty)
        #expect(table.join(1).ring != nil)
        #expect(table.receive(.closed(11, cause: "died")).events == [.lost(rank: 1, cause: "died")])
    }
}

/// Members that cannot reach each other.
@Suite struct RosterLinkTests {
    private typealias Table = RosterTable

    private func formed(_ worldSize: Int, ownRank: UInt32? = nil) -> RosterTable {
        var table = Table.formed(worldSize) { $0.ownRank = ownRank }
        _ = table.say(0, .begun)
        return table
    }

    /// Complaints of pairs, generation after generation; gives the ranks that were fenced.
    private func fenced(_ table: inout RosterTable, _ pairs: [(UInt32, UInt32)], generations: Int = 3) -> [Int] {
        var gone: [Int] = []
        for generation in UInt32(1)...UInt32(generations) {
            for (by, about) in pairs {
                for case .fenced(let rank) in table.say(by, .complain(rank: about, cause: "no answer")).events { gone.append(rank) }
            }
            for rank in 0..<UInt32(table.roster.configuration.worldSize) where !gone.contains(Int(rank)) {
                _ = table.join(rank, generation: generation)
            }
        }
        return gone
    }

    @Test func eachLinkIsToldOnceAGeneration() {
        var table = formed(3)
        #expect(
            table.say(1, .complain(rank: 2, cause: "no answer")) == [.tell(.linkBroken(rank: 1, other: 2, cause: "no answer"))])
        #expect(table.say(2, .complain(rank: 1, cause: "not come")).isEmpty)
    }

    /// The one that has trouble with several goes, not each of those.
    @Test func whoCannotReachSeveralGoes() {
        var table = formed(4)
        #expect(fenced(&table, [(1, 2), (1, 3)]) == [1])
    }

    /// With rank 0 the coordinator would go.
    @Test(arguments: [(0, 1), (1, 0)] as [(UInt32, UInt32)])
    func theCoordinatorsRankStays(pair: (UInt32, UInt32)) {
        var table = formed(3, ownRank: 0)
        #expect(fenced(&table, [pair]) == [1])
        var other = formed(4, ownRank: 0)
        #expect(fenced(&other, [(0, 1), (0, 2), (0, 3)]) == [1, 2, 3])
    }

    @Test func theOneThatGoesIsToldWhy() throws {
        var table = formed(2, ownRank: 0)
        _ = fenced(&table, [(1, 0)], generations: 2)
        let actions = table.say(1, .complain(rank: 0, cause: "no answer"))
        let reason = try #require(actions.refusals.first { $0.connection == 11 }?.reason)
        #expect(
            reason == "fenced: the others go on without this worker (rank 1 on h1 (10.0.0.1) has no connection with rank 0 on h0 "
                + "(10.0.0.0): no answer, 3 times in a row)")
    }

    /// A connection that ends is news only where nothing else is.
    @Test func anEndedConnectionIsToldIfNobodyIsLost() {
        var table = formed(3)
        #expect(table.say(1, .linkEnded(rank: 2, cause: "reset")).isEmpty)
        _ = table.say(0, .linkEnded(rank: 1, cause: "closed"))
        for rank in UInt32(0)..<2 { _ = table.join(rank, generation: 1) }
        #expect(
            table.join(2, generation: 1).events
                == [.linkBroken(rank: 1, other: 2, cause: "reset"), .formed(generation: 2, ranks: [0, 1, 2])])
        // Here rank 0's connection ended because rank 1 stopped its ring.
        _ = table.say(0, .linkEnded(rank: 1, cause: "closed"))
        _ = table.receive(.closed(12, cause: "died"))
        _ = table.join(0, generation: 2)
        #expect(table.join(1, generation: 2).events == [.formed(generation: 3, ranks: [0, 1])])
    }
}
