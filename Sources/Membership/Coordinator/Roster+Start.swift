import EventLoop
import Wire

/// The first world: whether it comes about, and if not, that every rank learns why.
///
/// A launcher starts a rank again that ends on its way in. Ranks that were started by hand are not started again: until
/// all have worked together once (`begun`), one that is refused, or is lost, or cannot reach another, ends the start
/// for all, at once.
extension Roster {
    /// Whether the job stands without one of its ranks.
    enum Start {
        /// Ranks were started by hand and have not worked together yet: a rank that is lost ends the job.
        case provisional(Provision)
        /// They have worked together, or a launcher starts ranks again.
        case settled
    }

    struct Provision {
        /// Members have trouble to connect: when the others have had time to say what trouble they have.
        var verdictAt: Duration?
        /// The connections that come from other hosts, and from which addresses.
        var elsewhere: [Connection: String] = [:]
    }

    /// After a proof that failed, the right rank may still come within this time.
    private static let doubtTime = Duration.seconds(3)
    /// Within this time of the first complaint the others make theirs.
    static let troubleTime = Duration.seconds(1)

    /// Whether a rank that is lost ends the job.
    var isStarting: Bool { if case .provisional = start { true } else { false } }

    /// Ranks that do not know yet that the job is over before it began.
    package var uninformed: [Int] {
        if case .over(let ending) = state { ending.uninformed.map { Int($0) }.sorted() } else { [] }
    }

    /// Changes what is known while the first world gathers; nothing afterwards.
    mutating func gathering(_ body: (inout Gathering) -> Void) {
        guard case .gathering(var gathering) = state else { return }
        body(&gathering)
        state = .gathering(gathering)
    }

    /// Changes what is known while the start is provisional; nothing afterwards.
    mutating func provision(_ body: (inout Provision) -> Void) {
        guard case .provisional(var provision) = start else { return }
        body(&provision)
        start = .provisional(provision)
    }

    mutating func judgeStart() {
        if case .provisional(let provision) = start, let at = provision.verdictAt, now >= at { endStartInTrouble() }
        guard case .gathering(let gathering) = state else { return }
        for (rank, doubt) in gathering.doubts.sorted(by: { $0.key < $1.key }) where now >= doubt.deadline {
            self.gathering { $0.doubts[rank] = nil }
            guard isStarting, entries[rank] == nil else { continue }
            endStart(
                "rank \(rank) of \(configuration.worldSize) did not join; refused was \(doubt.cause)", informed: [rank])
        }
        if now >= gathering.deadline { giveUpGathering(gathering) }
    }

    private mutating func giveUpGathering(_ gathering: Gathering) {
        guard !missing.isEmpty else { return }
        let names = missing.prefix(8).map(String.init).joined(separator: ", ") + (missing.count > 8 ? ", ..." : "")
        // The missing ranks had their time.
        endStart(
            "rank \(names) of \(configuration.worldSize) did not join within \(configuration.joinTimeLimit.secondsText)"
                + (gathering.lastRefused.map { "; refused was \($0)" } ?? hintForTheMissing),
            informed: Set(missing.map { UInt32($0) }))
    }

    /// What may be wrong where nothing at all has come.
    private var hintForTheMissing: String {
        configuration.ownRank == nil
            ? "" : " (MASTER_ADDR must lead every rank to rank 0's host, and MASTER_PORT be open there)"
    }

    /// The process that the coordinator is in ends.
    mutating func giveUp(_ reason: String) {
        guard isStarting, let own = configuration.ownRank else { return }
        endStart(withEndOf: own, reason)
    }

    /// Tells every rank that is there, or comes, that the job is over, and why. `informed`: those that know, or need
    /// not.
    private mutating func endStart(_ reason: String, informed: Set<UInt32> = []) {
        guard !isOver else { return }
        let ranks = Set((0..<configuration.worldSize).map { UInt32($0) })
        state = .over(Ending(reason: reason, uninformed: ranks.subtracting(informed)))
        start = .settled
        refuseAll(reason)
        actions.append(.tell(.gaveUp(reason: reason)))
    }

    /// This rank knows that the job is over, if it is.
    mutating func inform(_ rank: UInt32) {
        guard case .over(var ending) = state else { return }
        ending.uninformed.remove(rank)
        state = .over(ending)
    }

    // MARK: Why it may not come about

    mutating func refusedStranger(_ text: String, claim: UInt32?) {
        gathering { $0.lastRefused = text }
        guard isStarting, let claim, Int(claim) < configuration.worldSize, entries[claim] == nil else { return }
        let doubt = (deadline: now + Roster.doubtTime, cause: text)
        gathering { $0.doubts[claim] = $0.doubts[claim] ?? doubt }
    }

    /// A worker that has proved itself, and cannot be a member.
    mutating func refused(_ join: ControlMessage.Join, _ rank: UInt32, _ reason: String) {
        inform(rank)
        guard isStarting, isGathering else { return }
        if entries[rank] != nil {
            // Another process is there for it; the rank that was to come instead is missing, and will be missed.
            let member = join.member
            let text = "rank \(rank), process \(member.processID) on \(member.hostName)"
            gathering { $0.lastRefused = "\(text): \(reason)" }
            return actions.append(.tell(.refusedStranger(address: text, cause: reason)))
        }
        endStart("rank \(rank) was refused: \(reason)", informed: [rank])
    }

    /// A rank ends, and says why.
    mutating func failing(_ connection: Connection, provenRank rank: UInt32, _ reason: String) {
        guard let known = entries.rank(of: connection) else {
            actions.append(.close(connection))
            inform(rank)
            if isStarting, isGathering, entries[rank] == nil {
                endStart(
                    "rank \(rank) of \(configuration.worldSize) ended before it joined: \(reason)", informed: [rank])
            }
            return
        }
        guard isStarting else {
            entries.change(known) { $0.lastWords = reason }
            return actions.append(.tell(.failing(rank: Int(known))))
        }
        endStart(withEndOf: known, reason)
    }

    private mutating func endStart(withEndOf rank: UInt32, _ reason: String) {
        endStart("rank \(rank) of \(configuration.worldSize) ended before the first step: \(reason)", informed: [rank])
    }

    mutating func endStart(withLossOf rank: UInt32, _ cause: String) {
        endStart(
            "rank \(rank) of \(configuration.worldSize) was lost before the first step: \(cause)", informed: [rank])
    }

    /// All have said with which members they have no connection.
    mutating func endStartInTrouble() {
        provision { $0.verdictAt = nil }
        let reports = links.reports(generation: generation)
        guard !reports.isEmpty else { return }
        let some = reports.prefix(4).map { describe($0) }.joined(separator: "; ") + (reports.count > 4 ? "; ..." : "")
        endStart(
            "\(some) (workers connect with each other on ports that the system chooses: open those between all hosts)")
    }

    /// A rank is known under an address that leads to its own host only, and another one comes from another host.
    mutating func endStartIfOutOfReach() {
        guard case .provisional(let provision) = start else { return }
        let near = entries.sorted { SocketAddress(host: $0.member.host, port: 0)?.isLoopback == true }.first
        let far = entries.sorted { provision.elsewhere[$0.connection] != nil }.first
        guard let near, let far, let host = provision.elsewhere[far.connection] else { return }
        endStart(
            "MASTER_ADDR leads rank \(near.member.rank) to \(near.member.host), which is its own host only, and rank "
                + "\(far.member.rank) comes from \(host): give every rank an address of rank 0's host under which all can "
                + "reach it")
    }
}
