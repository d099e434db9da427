import EventLoop
import Wire

/// The coordinator's view of who is in the job: a pure state machine, events in and actions out, without sockets or clock.
///
/// Members join; when all ranks of the first world are there, the ring of generation 1 is announced to each. From then on whoever goes
/// without leaving is lost: the others are told, stop their ring and join again, and when all who live have done so the next generation
/// is announced. Newcomers prepare by themselves and are let in with a ring that all members form at a place of the program where that
/// is possible (`Join.isOpen`). Who is not wanted goes when all form a ring at a boundary, and knew by the ring before. When all members have
/// left, it is over.
///
///     gathering ──all ranks joined──▶ running ──somebody lost, or joins again──▶ re-forming
///                                        ▲ ◀──all who live have joined──────────────┘
///                                        └──all who live have left──▶ over
///
/// Nothing waits for ever: of whoever is frozen no word comes, and it is sent away (`Roster+Watching`).
package struct Roster: ~Copyable {
    /// A connection's number, as the driver counts them.
    package typealias Connection = Int

    package enum Event: Sendable {
        /// A worker whose handshake gave this rank said something.
        case said(ControlMessage, Connection, provenRank: UInt32)
        /// A connection ended by its peer's doing, or by a fault.
        case closed(Connection, cause: String)
        /// The process of a rank has ended, as its launcher saw; `willReturn`: it is being started again.
        case processEnded(rank: UInt32, willReturn: Bool)
        /// The job is to have so many workers (`scaleRefusal` is nil).
        case scale(workers: Int)
        /// A stranger was turned away, who may be the one that is missing; it says that it is this rank, without a proof.
        case refusedStranger(String, claim: UInt32?)
        /// The worker of a connection comes from another host, with this address.
        case isElsewhere(Connection, host: String)
        /// The job cannot be, for this reason.
        case giveUp(reason: String)
        /// `nextDeadline` has come.
        case tick
    }

    package enum Action: Equatable, Sendable {
        case send(ControlMessage, to: Connection)
        /// Close the connection after what was sent; `closed` does not follow.
        case close(Connection)
        case tell(MembershipEvent)
    }

    /// Where a worker stands.
    enum Standing: Equatable {
        /// It has stopped its ring, or had none, and waits for the next.
        case joined(isOpen: Bool, isBoundary: Bool)
        /// It was told of this generation's ring. `isInterrupted`: and that it is broken.
        case running(isInterrupted: Bool)
        /// A newcomer at its preparations.
        case preparing
        /// A newcomer that may be let in.
        case ready
        case left
    }

    struct Entry {
        var connection: Connection
        var member: MemberAddress
        var standing: Standing
        /// When something was last heard of it.
        var lastWord: Duration
        /// It is to go at a boundary.
        var isRetiring = false
        /// The members of the ring at hand know that it is.
        var isRetiringAnnounced = false

        /// One that has been in a ring, or is of the first world, and has not gone.
        var isMember: Bool {
            switch standing {
            case .joined, .running: true
            case .preparing, .ready, .left: false
            }
        }
    }

    package let configuration: Coordinator.Configuration
    /// The last generation announced; 0 while the first world gathers.
    package internal(set) var generation: UInt32 = 0
    package internal(set) var isOver = false
    var entries: [UInt32: Entry] = [:]
    var rankOf: [Connection: UInt32] = [:]
    /// Ranks from here on are not wanted.
    var targetSize: Int
    /// Lost ranks that may come again, as far as is known.
    var mayReturn: Set<UInt32> = []
    /// Ranks whose processes ended for good before the first ring.
    var goneEarly: Set<UInt32> = []
    /// The first loss of a job that does not go on after one.
    var firstLoss: String?
    var hasWished = false
    var waitingSince: Duration?
    /// Since when members are to come to the next ring.
    var formingSince: Duration?
    var stopOrder: String?
    /// Between which members there is trouble.
    var links = LinkLedger()
    /// Whether people know why the ring at hand is formed again.
    var isExplained = false
    /// All have worked together once: from then on a job that was started by hand goes on without whom it loses.
    var hasBegun = false
    /// Why a first world does not come about; and the ranks that know, or need not.
    var failure: String?
    var informed: Set<UInt32> = []
    /// Ranks for whom somebody came who was turned away: when they are not waited for any longer, and what was wrong.
    var doubts: [UInt32: (deadline: Duration, cause: String)] = [:]
    /// When the other members have had time to say with whom they have no connection, before the first step.
    var troubleDeadline: Duration?
    /// Whose connections come from other hosts, and from which address.
    var elsewhere: [Connection: String] = [:]
    /// What ranks have said that they end of.
    var lastWords: [UInt32: String] = [:]
    /// Members of a coordinator that is lost, who are to come to this one; and until when they are waited for.
    var awaited: Set<UInt32> = []
    var awaitedUntil: Duration?
    var ledger = ClaimLedger()

    // Time, as the last event had it.
    var now = Duration.zero
    /// When the first world must be there.
    var joinDeadline: Duration
    /// When something was last heard of any member.
    var lastMemberWord = Duration.zero
    /// Since when it is known that of no member anything is heard.
    var silentSince: Duration?
    var nextPing: Duration
    var lastRefused: String?
    /// For whom each rank that has stalled is waiting.
    var stalls: [UInt32: UInt32] = [:]
    var stallLimit = Duration.zero
    var stallDeadline: Duration?
    var fruitlessInterrupts = 0

    var actions: [Action] = []

    package init(_ configuration: Coordinator.Configuration) {
        precondition(configuration.worldSize >= 1)
        self.configuration = configuration
        targetSize = configuration.worldSize
        joinDeadline = configuration.joinTimeLimit
        nextPing = configuration.peerTimeout / Roster.pingsInTime
    }

    /// Takes an event at a time, which counts from the coordinator's start and never goes back, and says what is to be done.
    package mutating func receive(_ event: Event, at time: Duration) -> [Action] {
        forgiveIfAsleep(until: time)
        now = max(now, time)
        switch event {
        case .said(let message, let connection, let rank): take(message, connection, provenRank: rank)
        case .closed(let connection, let cause): closed(connection, cause)
        case .processEnded(let rank, let willReturn): processEnded(rank, willReturn: willReturn)
        case .scale(let workers): scale(to: workers)
        case .refusedStranger(let text, let claim): refusedStranger(text, claim: claim)
        case .isElsewhere(let connection, let host): elsewhere[connection] = host
        case .giveUp(let reason): giveUp(reason)
        case .tick: break
        }
        judgeTime()
        defer { actions = [] }
        return actions
    }

    var isGathering: Bool { generation == 0 }

    /// Ranks of the first world that have not joined, in order.
    package var missing: [Int] {
        (0..<configuration.worldSize).filter { entries[UInt32($0)] == nil }
    }

    /// Entries of those in a standing, by rank.
    func sorted(where isWanted: (Entry) -> Bool) -> [Entry] {
        entries.values.filter(isWanted).sorted { $0.member.rank < $1.member.rank }
    }

    // MARK: What workers say

    private mutating func take(_ message: ControlMessage, _ connection: Connection, provenRank rank: UInt32) {
        if let known = rankOf[connection] { heard(known) }
        switch message {
        case .join(let join): take(join, connection, provenRank: rank)
        case .leave: leave(connection)
        case .stalled(let waitingFor, let limit):
            stalled(connection, waitingFor: waitingFor, limit: .milliseconds(Int64(limit)))
        case .pong: break
        case .complain(let rank, let cause): complain(connection, rank, cause)
        case .linkEnded(let rank, let cause): linkEnded(connection, rank, cause)
        case .begun: hasBegun = hasBegun || rankOf[connection] != nil
        case .failing(let reason): failing(connection, provenRank: rank, reason)
        case .claim(let generation, let section, let count):
            claim(connection, generation: generation, section: section, count: count)
        case .ring, .refuse, .lost, .interrupt, .wantsReform, .prepare, .retire, .ping, .over, .claimed, .scale, .scaled:
            // Only a coordinator, or a client, says these; a worker that does is not one of this build.
            violation(connection, "it sent what only a coordinator sends")
        }
    }

    private mutating func violation(_ connection: Connection, _ cause: String) {
        actions.append(.close(connection))
        closed(connection, cause)
    }

    private mutating func take(_ join: ControlMessage.Join, _ connection: Connection, provenRank rank: UInt32) {
        guard rankOf[connection] == nil else { return joinAgain(join, connection) }
        if let refusal = reasonToRefuse(join, provenRank: rank) {
            actions += [.send(.refuse(reason: refusal), to: connection), .close(connection)]
            return refused(join, rank, refusal)
        }
        rankOf[connection] = rank
        let isHeir = awaited.remove(rank) != nil
        if isHeir { generation = max(generation, join.generation) }
        let standing = isGathering || isHeir ? Standing.joined(isOpen: false, isBoundary: false) : .preparing
        entries[rank] = Entry(connection: connection, member: join.member, standing: standing, lastWord: now)
        heard(rank)
        mayReturn.insert(rank)
        let member = join.member
        actions.append(
            .tell(.joined(rank: Int(rank), processID: member.processID, host: member.hostName, isNewcomer: !isGathering && !isHeir)))
        if isHeir { return formIfComplete() }
        guard isGathering else { return actions.append(.send(.prepare, to: connection)) }
        endStartIfSomebodyIsOutOfReach()
        formIfComplete()
        if isGathering { giveUpIfSomebodyIsGone() }
    }

    /// A worker that is known stops its ring, or is ready.
    private mutating func joinAgain(_ join: ControlMessage.Join, _ connection: Connection) {
        guard let rank = rankOf[connection], let entry = entries[rank] else { return }
        switch entry.standing {
        case .running where join.generation == generation && join.member.rank == rank:
            if let firstLoss { return dismiss(rank, because: firstLoss) }
            entries[rank]!.standing = .joined(isOpen: join.isOpen, isBoundary: join.isBoundary)
            entries[rank]!.member = join.member
            formingSince = formingSince ?? now
            if !join.isBoundary { interruptOthers("rank \(rank)'s ring is broken") }
            formIfComplete()
        case .preparing where join.member.rank == rank:
            entries[rank]!.standing = .ready
            entries[rank]!.member = join.member
            wishIfWanted()
            formIfComplete()
        default:
            violation(connection, "it joined when it could not")
        }
    }

    private mutating func leave(_ connection: Connection) {
        guard let rank = rankOf[connection], let entry = entries[rank], entry.isMember, !isGathering else {
            return violation(connection, "it left before it was in")
        }
        entries[rank]!.standing = .left
        actions.append(.tell(.left(rank: Int(rank))))
        endOrForm()
    }

    private mutating func claim(_ connection: Connection, generation: UInt32, section: UInt64, count: UInt32) {
        // A claim of an older ring needs no answer: its sender has been told to stop that ring.
        guard let rank = rankOf[connection], case .running = entries[rank]?.standing, generation == self.generation else { return }
        let piece = ledger.claim(rank: rank, section: section, count: count, at: now)
        actions.append(.send(.claimed(generation: generation, section: section, piece: piece), to: connection))
    }

    private func reasonToRefuse(_ join: ControlMessage.Join, provenRank rank: UInt32) -> String? {
        if join.member.rank != rank { return "the handshake was rank \(rank)'s, the message is rank \(join.member.rank)'s" }
        if isOver { return failure ?? "the job is over" }
        if isGathering, Int(join.worldSize) != configuration.worldSize {
            return "WORLD_SIZE is \(join.worldSize) for rank \(rank) and \(configuration.worldSize) for the coordinator"
        }
        if Int(rank) >= targetSize { return "rank \(rank) in a world of \(targetSize)" }
        if awaited.contains(rank) { return nil }
        if let there = entries[rank] {
            if there.standing == .left { return "rank \(rank) has done its work" }
            return "rank \(rank) is already there, as process \(there.member.processID) on \(there.member.hostName)"
        }
        if !isGathering, !configuration.isElastic { return "the ring has been formed" }
        if join.generation != 0 { return "it is of generation \(join.generation) and was lost" }
        return nil
    }

    // MARK: Going

    private mutating func closed(_ connection: Connection, _ cause: String) {
        elsewhere[connection] = nil
        guard let rank = rankOf.removeValue(forKey: connection), let entry = entries[rank], entry.connection == connection else {
            return
        }
        if entry.standing != .left { lose(rank, lastWords.removeValue(forKey: rank).map { "it ended: \($0)" } ?? cause) }
    }

    private mutating func processEnded(_ rank: UInt32, willReturn: Bool) {
        if !willReturn { mayReturn.remove(rank) }
        if isGathering {
            if !willReturn { goneEarly.insert(rank) }
            if let entry = entries[rank] { remove(rank, closing: entry.connection) }
            return giveUpIfSomebodyIsGone()
        }
        if let entry = entries[rank], entry.standing != .left {
            actions.append(.close(entry.connection))
            lose(rank, "its process ended")
            if !willReturn { mayReturn.remove(rank) }
        }
        formIfComplete()
    }

    /// Takes a worker off the roster, and tells those whom it concerns.
    mutating func lose(_ rank: UInt32, _ cause: String) {
        guard let entry = entries[rank] else { return }
        remove(rank)
        if isStarting { return endStart(withLossOf: rank, cause) }
        if isGathering { return giveUpIfSomebodyIsGone() }
        guard firstLoss == nil else { return }
        actions.append(.tell(.lost(rank: Int(rank), cause: cause)))
        isExplained = isExplained || entry.isMember
        guard entry.isMember else { return formIfComplete() }
        if !configuration.isElastic { firstLoss = "rank \(rank) was lost: \(cause)" }
        for other in sorted(where: { if case .running = $0.standing { true } else { false } }) {
            entries[other.member.rank]!.standing = .running(isInterrupted: true)
            formingSince = formingSince ?? now
            actions.append(.send(.lost(rank: rank, cause: cause), to: other.connection))
        }
        endOrForm()
    }

    /// Tells a worker that it is no longer one, and why.
    mutating func dismiss(_ rank: UInt32, because reason: String) {
        guard let entry = entries[rank] else { return }
        informed.insert(rank)
        actions.append(.send(.refuse(reason: reason), to: entry.connection))
        remove(rank, closing: entry.connection)
    }

    mutating func remove(_ rank: UInt32, closing connection: Connection? = nil) {
        guard let entry = entries.removeValue(forKey: rank) else { return }
        rankOf[entry.connection] = nil
        elsewhere[entry.connection] = nil
        lastWords[rank] = nil
        stalls[rank] = nil
        if let connection { actions.append(.close(connection)) }
    }

    /// A rank that has gone for good before the first ring makes that impossible: nobody need wait.
    private mutating func giveUpIfSomebodyIsGone() {
        guard let rank = goneEarly.filter({ entries[$0] == nil }).min() else { return }
        refuseAll("rank \(rank) of \(configuration.worldSize) ended before it joined")
    }

    mutating func refuseAll(_ reason: String) {
        for entry in sorted(where: { $0.standing != .left }) { dismiss(entry.member.rank, because: reason) }
    }
}
