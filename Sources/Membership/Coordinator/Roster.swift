import EventLoop
import Wire

/// The coordinator's view of who is in the job: a pure state machine, driven by `Coordinator`: no socket, no clock.
///
/// Members join; when all ranks of the first world are there, the ring of generation 1 is announced to each. From then
/// on a member that goes without leaving is lost: the others are told, stop their ring and join again, and when all of
/// them have done so the next generation is announced. Newcomers prepare by themselves and are let in with a ring that
/// all members form at a place of the program where that is possible (`Join.isOpen`). A member that is not wanted goes
/// when all form a ring at a boundary, if the ring before was announced with its retirement. When all members have
/// left, the job is over.
///
///     gathering ──all ranks joined──▶ running ──a member is lost, or joins again──▶ reforming
///                                      ▲  ▲ ◀──all members joined again────────────────┤
///                                      │  └───a newcomer is ready, or time is up── waiting ◀─ too few of them
///     succeeding ──its members came────┘
///
/// From any of these it is `over` once no member is left, or when the first world does not come about (`Roster+Start`),
/// and, in a job that does not go on after a loss, `failed` first.
///
/// Nothing waits forever: no word comes from a member that is frozen, and it is sent away (`Roster+Watching`).
package struct Roster: ~Copyable {
    package enum Event: Sendable {
        /// A worker whose handshake gave this rank said something.
        case said(ControlMessage, Connection, provenRank: UInt32)
        /// A connection ended by its peer's doing, or by a fault.
        case closed(Connection, cause: String)
        /// The process of a rank has ended, as its launcher saw; `willReturn`: it is being started again.
        case processEnded(rank: UInt32, willReturn: Bool)
        /// The job is to have this many workers (`scaleRefusal` is nil).
        case scale(workers: Int)
        /// A stranger was turned away, who may be one that is missing: it claims to be this rank, without a proof.
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

    enum State {
        /// The ranks of the first world join.
        case gathering(Gathering)
        /// The members have been told of the current ring.
        case running
        /// The current ring is broken, or at a boundary, and its members join again.
        case reforming(since: Duration)
        /// All members have joined and are too few: the next ring waits for more workers.
        case waiting(since: Duration)
        /// The members of a coordinator that is lost come to this one (`Roster+Succession`).
        case succeeding(Succession)
        /// A member is lost in a job that does not go on after a loss: the others are told as they come.
        case failed(loss: String)
        case over(Ending)
    }

    /// What is known of the first world before it is complete.
    struct Gathering {
        /// When all ranks must be there.
        var deadline: Duration
        /// Ranks whose processes have ended for good.
        var gone: Set<UInt32> = []
        /// Ranks for which a stranger was turned away: until when the right one may come, and what was wrong.
        var doubts: [UInt32: (deadline: Duration, cause: String)] = [:]
        /// The last that was turned away, and why.
        var lastRefused: String?
    }

    /// How the job ended.
    struct Ending {
        /// What those are told who come now.
        var reason = "the job is over"
        /// Ranks that do not know yet that the first world has not come about.
        var uninformed: Set<UInt32> = []
    }

    /// The ring that was announced last, and what its members say of it.
    struct CurrentRing {
        /// 0 while the first world gathers.
        var generation: UInt32 = 0
        /// The members have been told that the ring is to be formed again at a boundary.
        var wantsReform = false
        /// People know why the ring is formed again.
        var isExplained = false
        var ledger = ClaimLedger()
        /// Members wait without progress.
        var stall: Stall?
    }

    package let configuration: Coordinator.Configuration
    var state: State
    var start: Start
    var ring = CurrentRing()
    var entries = Entries()
    /// Ranks from here on are not wanted.
    var targetSize: Int
    /// Lost ranks that may come again, as far as is known.
    var mayReturn: Set<UInt32> = []
    /// Why the run is to stop, once that is decided: announced with every ring.
    var stopOrder: String?
    /// Which members have trouble in reaching each other.
    var links = LinkLedger()
    var watch: Watch

    /// The time of the last event, and what has come of it so far.
    var now = Duration.zero
    var actions: [Action] = []

    package init(_ configuration: Coordinator.Configuration) {
        precondition(configuration.worldSize >= 1)
        self.configuration = configuration
        state = .gathering(Gathering(deadline: configuration.joinTimeLimit))
        start = configuration.ownRank == nil ? .settled : .provisional(Provision())
        targetSize = configuration.worldSize
        watch = Watch(nextPing: configuration.peerTimeout / Roster.pingsInTime)
    }

    /// Takes an event at a time, which counts from the coordinator's start and never goes back, and returns what is to
    /// be done.
    package mutating func receive(_ event: Event, at time: Duration) -> [Action] {
        forgiveIfAsleep(until: time)
        now = max(now, time)
        switch event {
        case .said(let message, let connection, let rank): said(message, connection, provenRank: rank)
        case .closed(let connection, let cause): closed(connection, cause)
        case .processEnded(let rank, let willReturn): processEnded(rank, willReturn: willReturn)
        case .scale(let workers): scale(to: workers)
        case .refusedStranger(let text, let claim): refusedStranger(text, claim: claim)
        case .isElsewhere(let connection, let host): provision { $0.elsewhere[connection] = host }
        case .giveUp(let reason): giveUp(reason)
        case .tick: break
        }
        judgeTime()
        defer { actions = [] }
        return actions
    }

    // MARK: State

    /// The last generation announced; 0 while the first world gathers.
    package var generation: UInt32 { ring.generation }

    package var isOver: Bool { if case .over = state { true } else { false } }

    var isGathering: Bool { if case .gathering = state { true } else { false } }

    /// Ranks of the first world that have not joined, in order.
    package var missing: [Int] {
        (0..<configuration.worldSize).filter { entries[UInt32($0)] == nil }
    }

    /// The current ring is broken: its members are to come to the next.
    mutating func beginReforming() {
        if case .running = state { state = .reforming(since: now) }
    }

    // MARK: What workers say

    private mutating func said(_ message: ControlMessage, _ connection: Connection, provenRank rank: UInt32) {
        if let known = entries.rank(of: connection) { heard(known) }
        switch message {
        case .join(let join): joins(join, connection, provenRank: rank)
        case .leave: leaves(connection)
        case .stalled(let waitingFor, let limit):
            stalled(connection, waitingFor: waitingFor, limit: .milliseconds(Int64(limit)))
        case .pong: break
        case .complain(let rank, let cause): complains(connection, rank, cause)
        case .linkEnded(let rank, let cause): linkEnded(connection, rank, cause)
        case .begun: if entries.rank(of: connection) != nil { start = .settled }
        case .failing(let reason): failing(connection, provenRank: rank, reason)
        case .claim(let generation, let section, let count):
            claims(connection, generation: generation, section: section, count: count)
        case .ring, .refuse, .lost, .interrupt, .wantsReform, .prepare, .retire, .ping, .over, .claimed, .scale,
            .scaled:
            // Only a coordinator, or a client, says these; a worker that does is not one of this build.
            violation(connection, "it sent what only a coordinator sends")
        }
    }

    private mutating func violation(_ connection: Connection, _ cause: String) {
        actions.append(.close(connection))
        closed(connection, cause)
    }

    private mutating func joins(_ join: ControlMessage.Join, _ connection: Connection, provenRank rank: UInt32) {
        if let known = entries.rank(of: connection) { return joinsAgain(join, connection, known) }
        if let refusal = reasonToRefuse(join, provenRank: rank) {
            actions += [.send(.refuse(reason: refusal), to: connection), .close(connection)]
            return refused(join, rank, refusal)
        }
        let isHeir = admitsHeir(rank, of: join.generation)
        let isNewcomer = !isGathering && !isHeir
        let member = join.member
        let standing = isNewcomer ? Standing.preparing : .joined(isOpen: false, isBoundary: false)
        entries.insert(Entry(connection: connection, member: member, standing: standing, lastWord: now))
        heard(rank)
        mayReturn.insert(rank)
        actions.append(
            .tell(.joined(rank: Int(rank), processID: member.processID, host: member.hostName, isNewcomer: isNewcomer)))
        if isHeir { return formIfComplete() }
        if isNewcomer { return actions.append(.send(.prepare, to: connection)) }
        endStartIfOutOfReach()
        formIfComplete()
        if isGathering { giveUpIfOneIsGone() }
    }

    /// A worker that is known stops its ring, or is ready.
    private mutating func joinsAgain(_ join: ControlMessage.Join, _ connection: Connection, _ rank: UInt32) {
        switch entries[rank]?.standing {
        case .running where join.generation == generation && join.member.rank == rank:
            if case .failed(let loss) = state { return dismiss(rank, because: loss) }
            entries.change(rank) {
                $0.standing = .joined(isOpen: join.isOpen, isBoundary: join.isBoundary)
                $0.member = join.member
            }
            beginReforming()
            if !join.isBoundary { interruptOthers("rank \(rank)'s ring is broken") }
            formIfComplete()
        case .preparing where join.member.rank == rank:
            entries.change(rank) {
                $0.standing = .ready
                $0.member = join.member
            }
            tellIfReformIsWanted()
            formIfComplete()
        default:
            violation(connection, "it joined when it could not")
        }
    }

    private mutating func leaves(_ connection: Connection) {
        guard let rank = entries.rank(of: connection), entries[rank]?.isMember == true, !isGathering else {
            return violation(connection, "it left before it was in")
        }
        entries.change(rank) { $0.standing = .left }
        actions.append(.tell(.left(rank: Int(rank))))
        endOrForm()
    }

    private mutating func claims(_ connection: Connection, generation: UInt32, section: UInt64, count: UInt32) {
        // A claim of an older ring needs no answer: its sender has been told to stop that ring.
        guard let rank = entries.rank(of: connection), entries[rank]?.isRunning == true, generation == self.generation
        else { return }
        let piece = ring.ledger.claim(rank: rank, section: section, count: count, at: now)
        actions.append(.send(.claimed(generation: generation, section: section, piece: piece), to: connection))
    }

    private func reasonToRefuse(_ join: ControlMessage.Join, provenRank rank: UInt32) -> String? {
        if join.member.rank != rank {
            return "the handshake was rank \(rank)'s, the message is rank \(join.member.rank)'s"
        }
        if case .over(let ending) = state { return ending.reason }
        if isGathering, Int(join.worldSize) != configuration.worldSize {
            return "WORLD_SIZE is \(join.worldSize) for rank \(rank) and \(configuration.worldSize) for the coordinator"
        }
        if Int(rank) >= targetSize { return "rank \(rank) in a world of \(targetSize)" }
        if case .succeeding(let succession) = state, succession.awaited.contains(rank) { return nil }
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
        provision { $0.elsewhere[connection] = nil }
        guard let entry = entries.disconnect(connection), entry.standing != .left else { return }
        lose(entry.member.rank, entry.lastWords.map { "it ended: \($0)" } ?? cause)
    }

    private mutating func processEnded(_ rank: UInt32, willReturn: Bool) {
        if !willReturn { mayReturn.remove(rank) }
        if isGathering {
            if !willReturn { gathering { $0.gone.insert(rank) } }
            if let entry = entries[rank] { remove(rank, closing: entry.connection) }
            return giveUpIfOneIsGone()
        }
        if let entry = entries[rank], entry.standing != .left {
            actions.append(.close(entry.connection))
            lose(rank, "its process ended")
        }
        formIfComplete()
    }

    /// Takes a worker off the roster, and tells those whom it concerns.
    mutating func lose(_ rank: UInt32, _ cause: String) {
        guard let entry = entries[rank] else { return }
        remove(rank)
        if isStarting { return endStart(withLossOf: rank, cause) }
        if isGathering { return giveUpIfOneIsGone() }
        if case .failed = state { return }
        actions.append(.tell(.lost(rank: Int(rank), cause: cause)))
        guard entry.isMember else { return formIfComplete() }
        ring.isExplained = true
        if !configuration.isElastic { state = .failed(loss: "rank \(rank) was lost: \(cause)") }
        for other in entries.sorted(where: \.isRunning) {
            beginReforming()
            entries.change(other.member.rank) { $0.standing = .running(isInterrupted: true) }
            actions.append(.send(.lost(rank: rank, cause: cause), to: other.connection))
        }
        endOrForm()
    }

    /// Tells a worker that it is no longer one, and why.
    mutating func dismiss(_ rank: UInt32, because reason: String) {
        guard let entry = entries[rank] else { return }
        inform(rank)
        actions.append(.send(.refuse(reason: reason), to: entry.connection))
        remove(rank, closing: entry.connection)
    }

    mutating func remove(_ rank: UInt32, closing connection: Connection? = nil) {
        guard let entry = entries.remove(rank) else { return }
        provision { $0.elsewhere[entry.connection] = nil }
        forgetStall(of: rank)
        if let connection { actions.append(.close(connection)) }
    }

    /// A rank that has gone for good before the first ring makes that impossible: none need wait.
    private mutating func giveUpIfOneIsGone() {
        guard case .gathering(let gathering) = state, let rank = gathering.gone.filter({ entries[$0] == nil }).min()
        else { return }
        refuseAll("rank \(rank) of \(configuration.worldSize) ended before it joined")
    }

    mutating func refuseAll(_ reason: String) {
        for entry in entries.sorted(where: { $0.standing != .left }) { dismiss(entry.member.rank, because: reason) }
    }
}
