import EventLoop
import Wire

/// The coordinator's view of who is in the job: a pure state machine, events in and actions out, without sockets or clock.
///
/// Members join; when all ranks of the world are there the ring of the next generation is announced to each. From then on a
/// connection that ends without `leave` is a member lost, and every other one is told. When all have left it is over.
package struct Roster: ~Copyable {
    /// A connection's number, as the driver counts them.
    package typealias Connection = Int

    package enum Action: Equatable, Sendable {
        case send(ControlMessage, to: Connection)
        case close(Connection)
        /// The ring has been announced; nobody is waited for any more.
        case formed(generation: UInt32)
        /// Call `judgeStall` after this time: by then all who wait in vain have said so.
        case judgeStall(after: Duration)
        /// A member went without leaving: for the launcher's report.
        case lost(rank: UInt32)
    }

    private enum Phase {
        case gathering
        case running
    }

    private struct Entry {
        var connection: Connection
        var member: MemberAddress
        var hasLeft = false
    }

    package let worldSize: Int
    package private(set) var generation: UInt32 = 0
    private var phase = Phase.gathering
    private var entries: [UInt32: Entry] = [:]
    private var lostRank: (rank: UInt32, cause: String)?
    /// For whom each rank that has stalled is waiting.
    private var stalls: [UInt32: UInt32] = [:]
    private var stallLimit = Duration.zero

    package init(worldSize: Int) {
        precondition(worldSize >= 1)
        self.worldSize = worldSize
    }

    /// Ranks that have not joined, in order.
    package var missing: [Int] {
        (0..<worldSize).filter { entries[UInt32($0)] == nil }
    }

    /// A connection whose handshake gave `rank` sent its `join`.
    package mutating func join(
        _ connection: Connection, provenRank rank: UInt32, worldSize theirs: UInt32, member: MemberAddress
    ) -> [Action] {
        if let refusal = reasonToRefuse(rank: rank, worldSize: theirs, member: member) {
            return [.send(.refuse(reason: refusal), to: connection), .close(connection)]
        }
        entries[rank] = Entry(connection: connection, member: member)
        guard entries.count == worldSize else { return [] }
        phase = .running
        let members = entries.values.map(\.member).sorted { $0.rank < $1.rank }
        return sorted.map { .send(.ring(generation: generation, members: members), to: $0.connection) }
            + [.formed(generation: generation)]
    }

    /// A member has done its work.
    package mutating func leave(_ connection: Connection) -> [Action] {
        guard let rank = rank(of: connection) else { return [.close(connection)] }
        entries[rank]!.hasLeft = true
        guard entries.count == worldSize, entries.values.allSatisfy(\.hasLeft) else { return [] }
        return sorted.flatMap { [.send(.over, to: $0.connection), .close($0.connection)] }
    }

    /// A member waits in vain. In a ring each rank waits for the one before it, so the first to say so is not the one who knows whose
    /// fault it is: that is who is waited for and waits for nobody.
    package mutating func stalled(_ connection: Connection, waitingFor: UInt32, limit: Duration) -> [Action] {
        guard let rank = rank(of: connection), phase == .running, lostRank == nil else { return [] }
        let isFirst = stalls.isEmpty
        stalls[rank] = waitingFor
        stallLimit = max(stallLimit, limit)
        return isFirst ? [.judgeStall(after: min(limit / 4, Roster.longestStallDelay))] : []
    }

    /// All who wait in vain have said so: names whom they wait for.
    package mutating func judgeStall() -> [Action] {
        guard lostRank == nil, let first = stalls.keys.min() else { return [] }
        var waiting = first
        var culprit = stalls[first]!
        // Where everybody waits for somebody, no rank is to blame; the walk then ends where it began.
        while culprit != first, let next = stalls[culprit] {
            waiting = culprit
            culprit = next
        }
        let cause = "rank \(waiting) waited for it for \(stallLimit.secondsText), and it for nobody: it is frozen, or busy with something else"
        stalls = [:]
        return lose(culprit, cause)
    }

    private static let longestStallDelay = Duration.milliseconds(1100)

    /// A connection ended, for the reason given.
    package mutating func closed(_ connection: Connection, cause: String) -> [Action] {
        guard let rank = rank(of: connection), let entry = entries[rank], !entry.hasLeft else { return [] }
        switch phase {
        case .gathering:
            // It may come again: the world is not complete without it.
            entries[rank] = nil
            return []
        case .running:
            entries[rank]!.hasLeft = true
            return lose(rank, cause)
        }
    }

    /// Tells everybody. Whoever goes next may go because of this one: the first is the one to name.
    private mutating func lose(_ rank: UInt32, _ cause: String) -> [Action] {
        guard lostRank == nil else { return [] }
        lostRank = (rank, cause)
        return sorted.filter { !$0.hasLeft }.map { .send(.lost(rank: rank, cause: cause), to: $0.connection) }
            + [.lost(rank: rank)]
    }

    /// The process of a rank has ended, as its launcher saw. If it never joined, the ring cannot be formed, and nobody need wait for it.
    package mutating func processEnded(rank: UInt32) -> [Action] {
        guard case .gathering = phase, entries[rank] == nil else { return [] }
        let reason = "rank \(rank) of \(worldSize) ended before it joined"
        return sorted.flatMap { [.send(.refuse(reason: reason), to: $0.connection), .close($0.connection)] }
    }

    /// The time to join is over. `refused` says which stranger was turned away meanwhile, who may be the one that is missing.
    package mutating func deadlinePassed(limit: Duration, refused: String? = nil) -> [Action] {
        guard case .gathering = phase else { return [] }
        let names = missing.prefix(8).map(String.init).joined(separator: ", ") + (missing.count > 8 ? ", ..." : "")
        let reason = "rank \(names) of \(worldSize) did not join within \(limit.secondsText)"
            + (refused.map { "; refused was \($0)" } ?? "")
        return sorted.flatMap { [.send(.refuse(reason: reason), to: $0.connection), .close($0.connection)] }
    }

    private var sorted: [Entry] {
        entries.values.sorted { $0.member.rank < $1.member.rank }
    }

    private func rank(of connection: Connection) -> UInt32? {
        entries.first { $0.value.connection == connection }?.key
    }

    private func reasonToRefuse(rank: UInt32, worldSize theirs: UInt32, member: MemberAddress) -> String? {
        if member.rank != rank { return "the handshake was rank \(rank)'s, the message is rank \(member.rank)'s" }
        if Int(theirs) != worldSize { return "WORLD_SIZE is \(theirs) for rank \(rank) and \(worldSize) for the coordinator" }
        if Int(rank) >= worldSize { return "rank \(rank) in a world of \(worldSize)" }
        if let there = entries[rank]?.member {
            return "rank \(rank) is already there, as process \(there.processID) on \(there.hostName)"
        }
        if case .running = phase { return "the ring has been formed" }
        return nil
    }
}
