import Membership
import TestSupport
import Testing
import Wire

/// Who is taken for frozen when nothing is heard.
@Suite struct SilenceTests {
    private typealias Table = RosterTable

    /// A tick a second from `from` on, with answers of these ranks to each. What was told.
    private func pass(_ table: inout RosterTable, _ seconds: ClosedRange<Int>, answering ranks: [UInt32]) -> [MembershipEvent] {
        var events: [MembershipEvent] = []
        for second in seconds {
            table.now = .seconds(second)
            events += table.receive(.tick).events
            for rank in ranks { events += table.say(rank, .pong).events }
        }
        return events
    }

    private func begun(_ ranks: [Int], time: Int = 5, limit: Int = 60) -> MembershipEvent {
        .silence(.begun(ranks: ranks, time: .seconds(time), limit: .seconds(limit)))
    }

    @Test func whereAllAreSilentNobodyIsTakenForDead() {
        var table = Table.formed(3)
        #expect(pass(&table, 1...30, answering: []) == [begun([0, 1, 2])])
        // They come back one after the other.
        table.now = .milliseconds(30_100)
        #expect(table.say(2, .pong).events == [.silence(.over(rank: 2))])
        #expect(pass(&table, 31...32, answering: [2]) == [])
        #expect(pass(&table, 33...40, answering: [0, 1, 2]) == [])
        // And again.
        #expect(pass(&table, 41...60, answering: []) == [begun([0, 1, 2])])
        #expect(pass(&table, 61...80, answering: [0, 1, 2]) == [.silence(.over(rank: 0))])
    }

    /// One does not come back: it has its time from then on, and no more.
    @Test func whoStaysSilentAfterwardsIsFenced() {
        var table = Table.formed(3)
        _ = pass(&table, 1...30, answering: [])
        let events = pass(&table, 31...40, answering: [0, 2])
        #expect(events.first == .silence(.over(rank: 0)) && events.dropFirst().first == .fenced(rank: 1), "\(events)")
    }

    /// They fall silent one after the other, as by a loop that stops them: the first is no more frozen than the last.
    @Test func silenceNeedNotBeginAtTheSameTime() {
        var table = Table.formed(3)
        _ = pass(&table, 1...1, answering: [0, 1, 2])
        _ = pass(&table, 2...2, answering: [1, 2])
        _ = pass(&table, 3...3, answering: [2])
        #expect(pass(&table, 4...20, answering: []) == [begun([0, 1, 2])])
    }

    @Test func allButOneAreFencedWhileThatOneSpeaks() {
        var table = Table.formed(4)
        let events = pass(&table, 1...5, answering: [2])
        #expect(events.filter { if case .fenced = $0 { true } else { false } } == [.fenced(rank: 0), .fenced(rank: 1), .fenced(rank: 3)])
        #expect(table.join(2, generation: 1).ring?.ranks == [2])
        // Alone it is waited for.
        #expect(pass(&table, 6...20, answering: []) == [begun([2])])
    }

    /// A newcomer lives, and has nothing to go on with.
    @Test func theLastWhoHasTheStateIsWaitedForWhoeverElseSpeaks() {
        var table = Table.formed(2)
        _ = table.receive(.closed(11, cause: "died"))
        _ = table.join(0, generation: 1)
        _ = table.join(1, over: 21)
        var events: [MembershipEvent] = []
        for second in 1...20 {
            table.now = .seconds(second)
            events += table.receive(.tick).events + table.say(1, .pong, over: 21).events
        }
        #expect(events == [begun([0])])
        // A silent newcomer is fenced while a member speaks.
        for second in 21...26 {
            table.now = .seconds(second)
            events += table.receive(.tick).events + table.say(0, .pong).events
        }
        #expect(events.dropFirst().first == .silence(.over(rank: 0)) && events.contains(.fenced(rank: 1)), "\(events)")
    }

    @Test func silenceForGoodEndsAtItsDeadline() {
        var table = Table.formed(2) { $0.rejoinTimeout = .seconds(10) }
        let events = pass(&table, 1...30, answering: [])
        #expect(events.prefix(4) == [
            begun([0, 1], limit: 10), .silence(.tooLong(limit: .seconds(10))), .fenced(rank: 0),
            .lost(rank: 0, cause: "frozen: no word of it for 15.0 s"),
        ])
        #expect(events.contains(.fenced(rank: 1)))
        let isOver = table.roster.isOver
        #expect(isOver)
    }

    /// Before there is a ring all are alike.
    @Test func whoeverFallsSilentAtTheStartIsWaitedForWithTheOthers() {
        var table = Table(worldSize: 3)
        for rank in [0, 1] as [UInt32] { _ = table.join(rank) }
        #expect(pass(&table, 1...20, answering: []) == [begun([0, 1])])
        table.now = .milliseconds(20_500)
        #expect(table.say(1, .pong).events == [.silence(.over(rank: 1))])
        _ = table.say(0, .pong)
        #expect(table.join(2).ring?.ranks == [0, 1, 2])
    }

    /// One that has done its work is no member any more, and the others are lost to nobody.
    @Test func whoIsSilentAfterAnotherHasLeftIsFenced() {
        var table = Table.formed(2)
        _ = table.say(0, .leave)
        #expect(pass(&table, 1...5, answering: []).first == .fenced(rank: 1))
    }

    /// What a coordinator slept away is nobody's delay.
    @Test func aCoordinatorThatSleptMovesItsDeadlines() {
        var waiting = Table.formed(3) {
            $0.minWorkers = 3
            $0.rejoinTimeout = .seconds(20)
        }
        _ = waiting.receive(.closed(12, cause: "died"))
        for rank in [0, 1] as [UInt32] { _ = waiting.join(rank, generation: 1) }
        waiting.now = .seconds(500)
        #expect(waiting.receive(.tick).ring == nil)
        #expect(waiting.roster.nextDeadline > .seconds(500))

        var gathering = Table(worldSize: 2)
        _ = gathering.join(0)
        gathering.now = .seconds(500)
        #expect(gathering.receive(.tick).refusals.isEmpty)
        #expect(gathering.join(1).ring?.ranks == [0, 1])

        var forming = Table.formed(3)
        _ = forming.receive(.closed(12, cause: "died"))
        _ = forming.join(0, generation: 1)
        forming.now = .seconds(5000)
        #expect(forming.receive(.tick).events.isEmpty)
        #expect(forming.join(1, generation: 1).ring?.ranks == [0, 1])
    }

    /// Random silences of random workers, and at any time at least one that speaks often enough or none at all: who has never been silent
    /// while another spoke is never fenced, and who is silent for good is, as long as another speaks.
    @Test(arguments: 0..<8) func whateverIsSilentTheRightOnesAreFenced(block: Int) {
        for seed in UInt64(block * 250)..<UInt64((block + 1) * 250) {
            var generator = SeededGenerator(seed: seed)
            let count = Int.random(in: 1...4, using: &generator)
            var table = Table.formed(count) { $0.rejoinTimeout = .seconds(1_000) }
            let dead = Int.random(in: 0...2, using: &generator) == 0 && count > 1 ? UInt32(Int.random(in: 0..<count, using: &generator)) : nil
            let deadFrom = Int.random(in: 1...60, using: &generator)
            var stopsUntil = 0
            var fenced: Set<Int> = []
            for second in 1...150 {
                table.now = .seconds(second)
                // All stop for a while, now and then.
                if second > stopsUntil, Int.random(in: 0..<20, using: &generator) == 0, second < 120 {
                    stopsUntil = second + Int.random(in: 1...20, using: &generator)
                }
                for case .fenced(let rank) in table.receive(.tick).events { fenced.insert(rank) }
                guard second > stopsUntil else { continue }
                for rank in (0..<UInt32(count)).shuffled(using: &generator) where !(rank == dead && second >= deadFrom) {
                    table.now = .seconds(second) + .milliseconds(Int.random(in: 0...300, using: &generator))
                    for case .fenced(let rank) in table.say(rank, .pong).events { fenced.insert(rank) }
                }
            }
            #expect(fenced == Set(dead.map { [Int($0)] } ?? []), "seed \(seed)")
        }
    }
}
