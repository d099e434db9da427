import Membership
import Testing
import Wire

/// What becomes of a job whose members go and come.
@Suite struct RosterRecoveryTests {
    private typealias Table = RosterTable

    /// All of these join again after generation `generation`.
    private func joinAll(_ table: inout RosterTable, _ ranks: [UInt32], generation: UInt32, isOpen: Bool = true, isBoundary: Bool = false)
        -> [Roster.Action]
    {
        ranks.flatMap { table.join($0, generation: generation, isOpen: isOpen, isBoundary: isBoundary) }
    }

    @Test func theSurvivorsFormTheNextRing() throws {
        var table = Table.formed(4)
        let told = ControlMessage.lost(rank: 1, cause: "died")
        let actions = table.receive(.closed(11, cause: "died"))
        #expect(
            actions == [
                .tell(.lost(rank: 1, cause: "died")), .send(told, to: 10), .send(told, to: 12), .send(told, to: 13),
            ])
        #expect(joinAll(&table, [3, 0], generation: 1).isEmpty)
        // The last but one dies while the others wait.
        #expect(table.receive(.closed(12, cause: "too")).ring?.ranks == [0, 3])
        #expect(table.roster.generation == 2)
    }

    /// A connection between two that live has broken: the coordinator knows of no loss, and all form anew.
    @Test func whoeverComesBackWithoutALossInterruptsTheOthers() throws {
        var table = Table.formed(3)
        let cause = ControlMessage.interrupt(cause: "rank 2's ring is broken")
        #expect(table.join(2, generation: 1) == [.send(cause, to: 10), .send(cause, to: 11)])
        #expect(table.join(0, generation: 1) == [])
        #expect(try #require(table.join(1, generation: 1).ring) == (2, [0, 1, 2], nil, [10, 11, 12]))
    }

    @Test func aNewcomerPreparesAndComesInAtABoundary() throws {
        var table = Table.formed(2)
        _ = table.receive(.closed(11, cause: "died"))
        #expect(table.join(0, generation: 1).ring?.ranks == [0])
        let arrival = table.join(1, over: 21)
        #expect(arrival.isSent(.prepare, to: 21) && arrival.events == [.joined(rank: 1, processID: 101, host: "h1", isNewcomer: true)])
        // Ready: the others are told that somebody waits.
        #expect(table.join(1, over: 21) == [.send(.wantsReform, to: 10)])
        // They come: nobody is interrupted, and the newcomer is let in.
        let ring = try #require(table.join(0, generation: 2, isOpen: true, isBoundary: true).ring)
        #expect(ring == (3, [0, 1], nil, [10, 21]))
    }

    /// A section that is not open lets nobody in; the wish is told again afterwards.
    @Test func aClosedSectionKeepsNewcomersWaiting() throws {
        var table = Table.formed(3)
        _ = table.receive(.closed(12, cause: "died"))
        _ = joinAll(&table, [0, 1], generation: 1)
        _ = table.join(2, over: 22)
        _ = table.join(2, over: 22)
        _ = table.join(0, generation: 2, isOpen: false)
        let actions = table.join(1, generation: 2, isOpen: true)
        #expect(actions.ring?.ranks == [0, 1])
        #expect(actions.isSent(.wantsReform, to: 10) && actions.isSent(.wantsReform, to: 11))
        _ = table.join(0, generation: 3, isOpen: true)
        #expect(table.join(1, generation: 3, isOpen: true).ring?.ranks == [0, 1, 2])
    }

    @Test func whoIsNotWantedGoesAtTheBoundary() throws {
        var table = Table.formed(4)
        let actions = table.receive(.scale(workers: 2))
        #expect(actions.events == [.scale(workers: 2)])
        for connection in 10...13 { #expect(actions.isSent(.wantsReform, to: connection)) }
        // At this boundary the others do not know yet who is to go; in a recovery that nobody agreed to, nobody goes.
        for (generation, isBoundary) in [(1, true), (2, false)] as [(UInt32, Bool)] {
            let actions = joinAll(&table, [0, 1, 2, 3], generation: generation, isBoundary: isBoundary)
            #expect(actions.ring?.ranks == [0, 1, 2, 3] && actions.retiring == [2, 3])
            for connection in 10...13 { #expect(actions.isSent(.wantsReform, to: connection)) }
        }
        let last = joinAll(&table, [0, 1, 2, 3], generation: 3, isBoundary: true)
        #expect(last.ring?.ranks == [0, 1])
        #expect(last.isSent(.retire, to: 12) && last.isSent(.retire, to: 13))
        #expect(last.events.contains(.left(rank: 3)))
        #expect(last.retiring == [])
        #expect(table.join(3, over: 33).refusals.first?.reason == "rank 3 in a world of 2")
    }

    /// Who was asked to go later than the others were told of must wait for the next boundary; who is wanted again stays.
    @Test func onlyTheAnnouncedGo() throws {
        var table = Table.formed(4)
        _ = table.receive(.scale(workers: 3))
        #expect(joinAll(&table, [0, 1, 2, 3], generation: 1, isBoundary: true).retiring == [3])
        _ = table.receive(.scale(workers: 2))
        let second = joinAll(&table, [0, 1, 2, 3], generation: 2, isBoundary: true)
        #expect(second.ring?.ranks == [0, 1, 2] && second.retiring == [2] && second.isSent(.retire, to: 13))
        _ = table.receive(.scale(workers: 3))
        let third = joinAll(&table, [0, 1, 2], generation: 3, isBoundary: true)
        #expect(third.ring?.ranks == [0, 1, 2] && third.retiring == [])
    }

    @Test func aJobIsNotScaledWhenThatCannotBe() {
        var table = Table(worldSize: 2)
        #expect(table.roster.scaleRefusal(3)?.contains("still starting") == true)
        _ = table.join(0)
        _ = table.join(1)
        #expect(table.roster.scaleRefusal(3) == nil)
        #expect(table.roster.scaleRefusal(0) != nil)
        #expect(table.roster.scaleRefusal(1 << 30) != nil)
    }

    /// Silence alone is judged; whoever says anything at all lives. A coordinator that slept forgives all.
    @Test func theSilentAreFenced() throws {
        var table = Table.formed(2)
        for second in 1...4 {
            table.now = .seconds(second)
            let actions = table.receive(.tick)
            #expect(actions.isSent(.ping, to: 10) && actions.isSent(.ping, to: 11))
            #expect(table.say(0, .pong) == [])
        }
        table.now = .seconds(5)
        let actions = table.receive(.tick)
        #expect(actions.refusals.map(\.connection) == [11])
        #expect(actions.events == [.fenced(rank: 1), .lost(rank: 1, cause: "frozen: no word of it for 5.0 s")])
        #expect(actions.contains(.close(11)))
        // It wakes, and nobody hears it.
        #expect(table.say(1, .pong) == [])
        #expect(table.join(0, generation: 1).ring?.ranks == [0])
        table.now = .seconds(100)
        #expect(table.receive(.tick).refusals.isEmpty)
    }

    /// One that lives and does not come is stuck.
    @Test func whoDoesNotComeToTheNextRingIsSentAway() throws {
        var table = Table.formed(3) {
            $0.timeout = .seconds(3)
            // Pings come later than what is looked at here.
            $0.peerTimeout = .seconds(100)
        }
        table.now = .seconds(11)
        _ = table.receive(.closed(12, cause: "died"))
        _ = table.join(0, generation: 1)
        #expect(table.roster.nextDeadline <= .seconds(14))
        table.now = .seconds(14)
        let actions = table.receive(.tick)
        #expect(actions.events.first == .fenced(rank: 1) && actions.ring?.ranks == [0])
        #expect(table.roster.nextDeadline > .seconds(14))
    }

    @Test func tooFewWait() throws {
        var table = Table.formed(3) {
            $0.minWorkers = 3
            $0.rejoinTimeout = .seconds(4)
        }
        _ = table.receive(.closed(12, cause: "died"))
        let waiting = joinAll(&table, [0, 1], generation: 1)
        #expect(waiting.ring == nil && waiting.events == [.waitingForWorkers(have: 2, need: 3)])
        // One comes back in time.
        _ = table.join(2, over: 22)
        #expect(table.join(2, over: 22).ring?.ranks == [0, 1, 2])
        // The next does not.
        _ = table.receive(.closed(22, cause: "died"))
        #expect(joinAll(&table, [0, 1], generation: 2).ring == nil)
        table.now = .seconds(4)
        #expect(table.roster.nextDeadline <= .seconds(4))
        let ring = try #require(table.receive(.tick).ring)
        #expect(ring.ranks == [0, 1] && ring.stop == "2 of the 3 workers that it needs were there within 4.0 s")
    }

    /// The launcher says that nobody will come: then nobody waits.
    @Test func whereNobodyWillComeNobodyWaits() throws {
        var table = Table.formed(2) { $0.minWorkers = 2 }
        _ = table.receive(.closed(11, cause: "died"))
        #expect(table.join(0, generation: 1, isOpen: true).ring == nil)
        let ring = try #require(table.receive(.processEnded(rank: 1, willReturn: false)).ring)
        #expect(ring.ranks == [0] && ring.stop?.contains("no other will come") == true)
    }

    @Test func twoWhoCannotConnectAreParted() {
        var table = Table.formed(3)
        for generation in UInt32(1)...3 {
            _ = table.say(1, .complain(rank: 2, cause: "no route"))
            let actions = table.say(2, .complain(rank: 1, cause: "no route"))
            #expect(actions.isEmpty)
            if generation < 3 { #expect(joinAll(&table, [0, 1, 2], generation: generation).ring != nil) }
        }
        // The third complaint in a row has fenced the one complained about.
        #expect(joinAll(&table, [0, 1], generation: 3).ring?.ranks == [0, 1])
    }

    /// 0 waits for 2, 2 for 1, and 1 for nobody.
    @Test func whoHoldsEverybodyUpIsSentAway() {
        var table = Table.formed(3)
        _ = table.say(0, .stalled(waitingFor: 2, limitMilliseconds: 2000))
        _ = table.say(2, .stalled(waitingFor: 1, limitMilliseconds: 2000))
        table.now = .milliseconds(500)
        #expect(table.roster.nextDeadline == table.now)
        let actions = table.receive(.tick)
        #expect(actions.refusals.map(\.connection) == [11])
        #expect(actions.events.first == .fenced(rank: 1))
    }

    /// Where everybody waits for somebody nobody is to blame: the ring is formed anew.
    @Test func whereAllWaitTheRingIsFormedAnew() {
        var table = Table.formed(3)
        for (rank, waitingFor) in [(0, 2), (1, 0), (2, 1)] as [(UInt32, UInt32)] {
            _ = table.say(rank, .stalled(waitingFor: waitingFor, limitMilliseconds: 20_000))
        }
        table.now = .milliseconds(1100)
        let actions = table.receive(.tick)
        #expect(actions.events.isEmpty && actions.count >= 3)
        #expect(joinAll(&table, [0, 1, 2], generation: 1).ring?.ranks == [0, 1, 2])
    }

    @Test func newcomersAloneHaveNothingToGoOnWith() {
        var table = Table.formed(2)
        _ = table.receive(.closed(11, cause: "died"))
        _ = table.join(0, generation: 1)
        _ = table.join(1, over: 21)
        let actions = table.receive(.closed(10, cause: "died too"))
        #expect(actions.refusals.map(\.connection) == [21])
        let isOver = table.roster.isOver
        #expect(isOver)
    }

    @Test func whoIsDoneIsNotWaitedForAndNewcomersGoHome() {
        var table = Table.formed(3)
        _ = table.receive(.closed(12, cause: "died"))
        _ = joinAll(&table, [0, 1], generation: 1)
        _ = table.join(2, over: 22)
        _ = table.say(0, .leave)
        // The other's ring breaks on its way out: it forms one of its own.
        #expect(table.join(1, generation: 2).ring?.ranks == [1])
        let last = table.say(1, .leave)
        for connection in [10, 11, 22] { #expect(last.isSent(.over, to: connection)) }
    }
}
