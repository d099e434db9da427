import EventLoop
import Wire

/// The workers on the roster.
extension Roster {
    /// A connection's number, as the driver counts them.
    package typealias Connection = Int

    /// How far a worker is.
    enum Standing: Equatable {
        /// It has stopped its ring, or had none, and waits for the next.
        case joined(isOpen: Bool, isBoundary: Bool)
        /// It was told of the current ring. `isInterrupted`: and that it is broken.
        case running(isInterrupted: Bool)
        /// A newcomer at its preparations.
        case preparing
        /// A newcomer that may be let in.
        case ready
        case left
    }

    struct Entry {
        let connection: Connection
        var member: MemberAddress
        var standing: Standing
        /// When something was last heard of it.
        var lastWord: Duration
        /// It goes at a boundary.
        var isRetiring = false
        /// The members of the current ring know that it is retiring.
        var isRetiringAnnounced = false
        /// Why it is about to end, as it has said.
        var lastWords: String?

        /// It has been in a ring, or is of the first world, and has not gone.
        var isMember: Bool {
            switch standing {
            case .joined, .running: true
            case .preparing, .ready, .left: false
            }
        }

        var isRunning: Bool { if case .running = standing { true } else { false } }

        var isJoined: Bool { if case .joined = standing { true } else { false } }
    }

    /// The entries by rank, and which rank each connection is.
    struct Entries {
        private var byRank: [UInt32: Entry] = [:]
        /// Open connections only: a worker that has left may have closed its own.
        private var rankOf: [Connection: UInt32] = [:]

        subscript(rank: UInt32) -> Entry? { byRank[rank] }

        func rank(of connection: Connection) -> UInt32? { rankOf[connection] }

        var all: some Collection<Entry> { byRank.values }

        /// Those for which a condition holds, by rank.
        func sorted(where isWanted: (Entry) -> Bool) -> [Entry] {
            byRank.values.filter(isWanted).sorted { $0.member.rank < $1.member.rank }
        }

        mutating func insert(_ entry: Entry) {
            byRank[entry.member.rank] = entry
            rankOf[entry.connection] = entry.member.rank
        }

        mutating func change(_ rank: UInt32, _ body: (inout Entry) -> Void) {
            guard var entry = byRank[rank] else { return }
            body(&entry)
            byRank[rank] = entry
        }

        mutating func remove(_ rank: UInt32) -> Entry? {
            let entry = byRank.removeValue(forKey: rank)
            if let entry { rankOf[entry.connection] = nil }
            return entry
        }

        /// The connection has ended; its entry, which stays.
        mutating func disconnect(_ connection: Connection) -> Entry? {
            rankOf.removeValue(forKey: connection).flatMap { byRank[$0] }
        }

        /// Something was heard of all of them just now, as far as that counts.
        mutating func forgiveSilence(at time: Duration) {
            for rank in byRank.keys { byRank[rank]?.lastWord = time }
        }
    }
}
