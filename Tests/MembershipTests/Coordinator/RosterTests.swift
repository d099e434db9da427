import Membership
import Testing
import Wire

/// A roster and a short way to speak to it: worker r has connection 10 + r at first.
struct RosterTable: ~Copyable {
    var roster: Roster
    var now = Duration.zero

    init(worldSize: Int, _ configure: (inout Coordinator.Configuration) -> Void = { _ in }) {
        var configuration = Coordinator.Configuration(worldSize: worldSize)
        configure(&configuration)
        roster = Roster(configuration)
    }

    static func member(_ rank: UInt32) -> MemberAddress {
        MemberAddress(rank: rank, host: "10.0.0.\(rank)", port: 7, hostName: "h\(rank)", processID: 100 + Int32(rank))
    }

    mutating func receive(_ event: Roster.Event) -> [Roster.Action] { roster.receive(event, at: now) }

    mutating func say(_ rank: UInt32, _ message: ControlMessage, over connection: Int? = nil) -> [Roster.Action] {
        receive(.said(message, connection ?? 10 + Int(rank), provenRank: rank))
    }

    mutating func join(
        _ rank: UInt32, generation: UInt32 = 0, isOpen: Bool = false, isBoundary: Bool = false, worldSize: UInt32? = nil,
        member: MemberAddress? = nil, over connection: Int? = nil
    ) -> [Roster.Action] {
        say(
            rank,
            .join(.init(
                generation: generation, isOpen: isOpen, isBoundary: isBoundary,
                worldSize: worldSize ?? UInt32(roster.configuration.worldSize), member: member ?? RosterTable.member(rank))),
            over: connection)
    }

    /// A roster whose first ring has been announced.
    static func formed(_ worldSize: Int, _ configure: (inout Coordinator.Configuration) -> Void = { _ in }) -> RosterTable {
        var table = RosterTable(worldSize: worldSize, configure)
        for rank in 0..<UInt32(worldSize) { _ = table.join(rank) }
        if table.roster.generation != 1 { Issue.record("generation \(table.roster.generation) after all have joined") }
        return table
    }
}

extension [Roster.Action] {
    /// The ring that these announce, and to whom.
    var ring: (generation: UInt32, ranks: [UInt32], stop: String?, connections: [Int])? {
        var found: (UInt32, [UInt32], String?, [Int])?
        for case .send(.ring(let ring), let connection) in self {
            found = (ring.generation, ring.members.map(\.rank), ring.stop, (found?.3 ?? []) + [connection])
        }
        return found
    }

    /// Who is to go, as the ring's members are told.
    var retiring: [UInt32]? {
        for case .send(.ring(let ring), _) in self { return ring.retiring }
        return nil
    }

    func isSent(_ message: ControlMessage, to connection: Int) -> Bool { contains(.send(message, to: connection)) }

    var refusals: [(reason: String, connection: Int)] {
        compactMap { if case .send(.refuse(let reason), let connection) = $0 { (reason, connection) } else { nil } }
    }

    var events: [MembershipEvent] {
        compactMap { if case .tell(let event) = $0 { event } else { nil } }
    }
}

/// The first world: who joins, who may, and what becomes of those who go.
@Suite struct RosterTests {
    private typealias Table = RosterTable

    @Test func theRingIsAnnouncedWhenTheLastHasJoined() throws {
        var table = Table(worldSize: 3)
        #expect(table.join(2) == [.tell(.joined(rank: 2, processID: 102, host: "h2", isNewcomer: false))])
        #expect(table.join(0).ring == nil)
        #expect(table.roster.missing == [1])
        let actions = table.join(1)
        let ring = try #require(actions.ring)
        #expect(ring == (1, [0, 1, 2], nil, [10, 11, 12]))
        #expect(actions.events.last == .formed(generation: 1, ranks: [0, 1, 2]))
    }

    @Test func itIsOverWhenAllHaveLeft() {
        var table = Table.formed(3)
        #expect(table.say(0, .leave) == [.tell(.left(rank: 0))])
        #expect(table.say(2, .leave) == [.tell(.left(rank: 2))])
        #expect(
            table.say(1, .leave) == [
                .tell(.left(rank: 1)), .send(.over, to: 10), .close(10), .send(.over, to: 11), .close(11), .send(.over, to: 12),
                .close(12),
            ])
        #expect(table.receive(.closed(10, cause: "gone")) == [])
        #expect(table.join(0, over: 30).refusals.first?.reason == "the job is over")
        // Time goes on, and asks for no tick at once.
        for second in 1...20 {
            table.now = .seconds(second * 10)
            _ = table.receive(.tick)
            #expect(table.roster.nextDeadline > table.now)
        }
    }

    @Test func whoGoesBeforeTheRingMayComeAgain() {
        var table = Table(worldSize: 2)
        _ = table.join(0)
        #expect(table.receive(.closed(10, cause: "restarted")) == [])
        #expect(table.roster.missing == [0, 1])
        #expect(table.join(0, over: 20).refusals.isEmpty)
        // A launcher that starts it again says so, and its old connection is closed.
        #expect(table.receive(.processEnded(rank: 0, willReturn: true)) == [.close(20)])
        #expect(table.join(0, over: 21).refusals.isEmpty)
        #expect(table.join(1).ring != nil)
    }

    @Test func whatCannotBeIsRefusedWithTheReason() {
        var table = Table(worldSize: 2)
        _ = table.join(0)
        func refusal(_ actions: [Roster.Action]) -> String? {
            guard actions.count == 2, case .send(.refuse(let reason), to: 9) = actions[0], actions[1] == .close(9)
            else { return nil }
            return reason
        }
        #expect(refusal(table.join(0, over: 9)) == "rank 0 is already there, as process 100 on h0")
        #expect(refusal(table.join(1, worldSize: 3, over: 9)) == "WORLD_SIZE is 3 for rank 1 and 2 for the coordinator")
        #expect(refusal(table.join(5, over: 9)) == "rank 5 in a world of 2")
        #expect(
            refusal(table.join(1, member: Table.member(0), over: 9)) == "the handshake was rank 1's, the message is rank 0's")
        #expect(refusal(table.join(1, generation: 4, over: 9)) == "it is of generation 4 and was lost")
        #expect(table.roster.missing == [1])
    }

    @Test func whoEndsForGoodBeforeTheRingIsNotWaitedFor() {
        var table = Table(worldSize: 2)
        _ = table.join(0)
        #expect(
            table.receive(.processEnded(rank: 1, willReturn: false)) == [
                .send(.refuse(reason: "rank 1 of 2 ended before it joined"), to: 10), .close(10),
            ])
        // Nor by one that comes later.
        var later = Table(worldSize: 2)
        _ = later.receive(.processEnded(rank: 1, willReturn: false))
        #expect(later.join(0).refusals.map(\.connection) == [10])
        // It has joined before, and its end is heard of first from one, then from the other.
        for isToldFirst in [true, false] {
            var table = Table(worldSize: 3)
            _ = table.join(0)
            _ = table.join(1)
            let end = Roster.Event.processEnded(rank: 1, willReturn: false)
            let close = Roster.Event.closed(11, cause: "gone")
            let actions = table.receive(isToldFirst ? end : close) + table.receive(isToldFirst ? close : end)
            #expect(actions.refusals.map(\.connection) == [10])
        }
    }

    @Test func theDeadlineNamesWhoIsMissing() {
        var table = Table(worldSize: 3) { $0.joinTimeLimit = .seconds(2) }
        _ = table.join(1)
        table.now = .seconds(2)
        #expect(table.roster.nextDeadline <= .seconds(2))
        #expect(table.receive(.tick).refusals.first?.reason == "rank 0, 2 of 3 did not join within 2.0 s")
    }

    /// A job whose program does not go on after a loss: the first is named to all, and nobody comes back.
    @Test func whereNobodyGoesOnTheFirstLossIsToldToAll() {
        var table = Table.formed(3) { $0.isElastic = false }
        let told = ControlMessage.lost(rank: 1, cause: "died")
        #expect(
            table.receive(.closed(11, cause: "died")) == [
                .tell(.lost(rank: 1, cause: "died")), .send(told, to: 10), .send(told, to: 12),
            ])
        #expect(table.receive(.closed(12, cause: "followed")) == [])
        #expect(table.join(0, generation: 1).refusals.first?.reason == "rank 1 was lost: died")
    }
}
