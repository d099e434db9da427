import Membership
import TestSupport
import Testing
import Wire

/// Events in any order, sensible or not: whatever comes, the roster keeps to these rules.
@Suite struct RosterChanceTests {
    @Test(arguments: 0..<8) func whateverComesTheRosterKeepsToItsRules(block: Int) {
        for seed in UInt64(block * 500)..<UInt64((block + 1) * 500) {
            var chance = RosterChance(seed: seed)
            for _ in 0..<100 { chance.step() }
            if let fault = chance.faults.first { Issue.record("seed \(seed): \(fault)") }
        }
    }
}

/// A roster, the connections that are open, and what must hold.
private struct RosterChance: ~Copyable {
    private var generator: SeededGenerator
    private var roster: Roster
    private let size: Int
    private var now = Duration.zero
    private var open: [(connection: Int, rank: UInt32)] = []
    private var connections = 0
    private var left: Set<Int> = []
    private var wasOver = false
    private(set) var faults: [String] = []

    init(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }
        size = number(1...4)
        var configuration = Coordinator.Configuration(worldSize: size)
        configuration.joinTimeLimit = .seconds(number(1...20))
        configuration.timeout = .seconds(number(2...20))
        configuration.rejoinTimeout = .seconds(number(1...20))
        configuration.minWorkers = number(1...size)
        configuration.isElastic = number(0...4) > 0
        if number(0...1) == 0 { configuration.ownRank = UInt32(number(0...(size - 1))) }
        if configuration.ownRank != nil, number(0...3) == 0 {
            let heirs = (1...UInt32(size)).map(RosterTable.member)
            roster = Roster(
                configuration,
                succeeding: .init(generation: 5, heirs: heirs, coordinatorRank: 0, cause: "gone", coordinator: "c:1"))
        } else {
            roster = Roster(configuration)
        }
        self.generator = generator
    }

    private mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }

    mutating func step() {
        now += .milliseconds(number(0...11) == 0 ? number(1000...9000) : number(0...400))
        if open.isEmpty || number(0...3) == 0 {
            connections += 1
            open.append((connections, UInt32(number(0...size))))
        }
        let (connection, rank) = open[number(0...(open.count - 1))]
        let other = UInt32(number(0...size))
        let message: ControlMessage? =
            switch number(0...29) {
            case 0...12:
                .join(
                    .init(
                        generation: [0, 5, roster.generation, roster.generation][number(0...3)],
                        isOpen: number(0...3) > 0, isBoundary: number(0...1) == 0, worldSize: UInt32(size),
                        member: RosterTable.member(rank)))
            case 13: .leave
            case 14, 15: .complain(rank: other, cause: "no route")
            case 16: .linkEnded(rank: other, cause: "reset")
            case 17: .begun
            case 18: .failing(reason: "why")
            case 19, 20: .stalled(waitingFor: other, limitMilliseconds: 2000)
            case 21: .claim(generation: roster.generation, section: 1, count: 5)
            case 22...25: .pong
            default: nil
            }
        if let message { return receive(.said(message, connection, provenRank: rank)) }
        switch number(0...7) {
        case 0:
            open.removeAll { $0.connection == connection }
            receive(.closed(connection, cause: "closed"))
        case 1: receive(.processEnded(rank: other, willReturn: number(0...1) == 0))
        case 2: receive(.scale(workers: number(0...(size + 2))))
        case 3: receive(.refusedStranger("h: bad", claim: other))
        case 4: receive(.isElsewhere(connection, host: "10.0.0.9"))
        default: receive(.tick)
        }
    }

    private mutating func receive(_ event: Roster.Event) {
        let generation = roster.generation
        if case .said(.leave, let connection, _) = event { left.insert(connection) }
        for action in roster.receive(event, at: now) {
            switch action {
            case .send(let message, let connection):
                if !isReachable(connection) { faults.append("\(event): \(action), which is closed") }
                if case .ring(let ring) = message { judge(ring, to: connection, after: generation) }
            case .close(let connection):
                if !isReachable(connection) { faults.append("\(event): \(action), which is closed") }
                open.removeAll { $0.connection == connection }
            case .tell: break
            }
        }
        if roster.nextDeadline <= now { faults.append("\(event): \(roster.nextDeadline) is past at \(now)") }
        if wasOver, !roster.isOver { faults.append("\(event): over, and then not") }
        wasOver = roster.isOver
        if !wasOver, !roster.uninformed.isEmpty { faults.append("\(event): \(roster.uninformed) wait for no end") }
    }

    /// A worker that has left may close its connection; that it is told of the end afterwards harms nobody.
    private func isReachable(_ connection: Int) -> Bool {
        left.contains(connection) || open.contains { $0.connection == connection }
    }

    private mutating func judge(_ ring: RingAnnouncement, to connection: Int, after generation: UInt32) {
        let ranks = ring.members.map(\.rank)
        if ring.generation <= generation { faults.append("generation \(ring.generation) after \(generation)") }
        if zip(ranks, ranks.dropFirst()).contains(where: >=) { faults.append("a ring of \(ranks)") }
        let rank = open.first { $0.connection == connection }?.rank
        if rank.map(ranks.contains) != true { faults.append("a ring of \(ranks), announced to \(connection)") }
    }
}
