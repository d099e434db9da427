import EventLoop
import Wire

/// The first world: whether it comes about, and if not, that everybody learns why.
///
/// A launcher starts a rank again that ends on its way in. Where ranks were started by hand nobody does: until all have worked together once
/// (`begun`), one that is refused, or is lost, or cannot reach another, ends the start for all, at once.
extension Roster {
    /// After a proof that failed, the right rank may still come within this time.
    private static let doubtTime = Duration.seconds(3)
    /// Within this time of the first complaint the others make theirs.
    static let troubleTime = Duration.seconds(1)

    /// Whether whoever is lost ends the job.
    var isStarting: Bool { configuration.ownRank != nil && !hasBegun && !isOver }

    /// Ranks that do not know yet that the job is over before it began.
    package var uninformed: [Int] {
        failure == nil ? [] : (0..<configuration.worldSize).filter { !informed.contains(UInt32($0)) }
    }

    mutating func judgeStart() {
        if let deadline = troubleDeadline, now >= deadline { endStartInTrouble() }
        for (rank, doubt) in doubts.sorted(by: { $0.key < $1.key }) where now >= doubt.deadline {
            doubts[rank] = nil
            guard isStarting, isGathering, entries[rank] == nil else { continue }
            informed.insert(rank)
            endStart("rank \(rank) of \(configuration.worldSize) did not join; refused was \(doubt.cause)")
        }
    }

    mutating func giveUpGathering() {
        guard !missing.isEmpty else { return }
        let names = missing.prefix(8).map(String.init).joined(separator: ", ") + (missing.count > 8 ? ", ..." : "")
        // They had their time.
        informed.formUnion(missing.map { UInt32($0) })
        endStart(
            "rank \(names) of \(configuration.worldSize) did not join within \(configuration.joinTimeLimit.secondsText)"
                + (lastRefused.map { "; refused was \($0)" } ?? hintForTheMissing))
    }

    /// What may be wrong where nothing at all has come.
    private var hintForTheMissing: String {
        configuration.ownRank == nil ? "" : " (MASTER_ADDR must lead every rank to rank 0's host, and MASTER_PORT be open there)"
    }

    /// The process that the coordinator is in ends.
    mutating func giveUp(_ reason: String) {
        guard isStarting, let own = configuration.ownRank else { return }
        endStart(withEndOf: own, reason)
    }

    /// Whoever is there, and whoever comes, is told that the job is over, and why.
    private mutating func endStart(_ reason: String) {
        guard !isOver else { return }
        troubleDeadline = nil
        doubts = [:]
        failure = reason
        refuseAll(reason)
        isOver = true
        actions.append(.tell(.gaveUp(reason: reason)))
    }

    // MARK: Why it may not come about

    mutating func refusedStranger(_ text: String, claim: UInt32?) {
        lastRefused = text
        guard isStarting, isGathering, let claim, Int(claim) < configuration.worldSize, entries[claim] == nil, doubts[claim] == nil
        else { return }
        doubts[claim] = (now + Roster.doubtTime, text)
    }

    /// A worker that has proved itself, and cannot be a member.
    mutating func refused(_ join: ControlMessage.Join, _ rank: UInt32, _ reason: String) {
        if isOver { informed.insert(rank) }
        guard isStarting, isGathering else { return }
        if entries[rank] != nil {
            // Somebody else is there for it; who was to come instead is missing, and will be missed.
            let member = join.member
            let text = "rank \(rank), process \(member.processID) on \(member.hostName)"
            lastRefused = "\(text): \(reason)"
            return actions.append(.tell(.refusedStranger(address: text, cause: reason)))
        }
        informed.insert(rank)
        endStart("rank \(rank) was refused: \(reason)")
    }

    /// A rank ends, and says why.
    mutating func failing(_ connection: Connection, provenRank rank: UInt32, _ reason: String) {
        guard let known = rankOf[connection] else {
            actions.append(.close(connection))
            informed.insert(rank)
            if isStarting, isGathering, entries[rank] == nil {
                endStart("rank \(rank) of \(configuration.worldSize) ended before it joined: \(reason)")
            }
            return
        }
        guard isStarting else {
            lastWords[known] = reason
            return actions.append(.tell(.failing(rank: Int(known))))
        }
        endStart(withEndOf: known, reason)
    }

    private mutating func endStart(withEndOf rank: UInt32, _ reason: String) {
        informed.insert(rank)
        endStart("rank \(rank) of \(configuration.worldSize) ended before the first step: \(reason)")
    }

    mutating func endStart(withLossOf rank: UInt32, _ cause: String) {
        informed.insert(rank)
        endStart("rank \(rank) of \(configuration.worldSize) was lost before the first step: \(cause)")
    }

    /// All have said with whom they have no connection.
    mutating func endStartInTrouble() {
        troubleDeadline = nil
        guard isStarting else { return }
        let reports = links.reports(generation: generation)
        guard !reports.isEmpty else { return }
        let some = reports.prefix(4).map { describe($0) }.joined(separator: "; ") + (reports.count > 4 ? "; ..." : "")
        endStart("\(some) (workers connect with each other on ports that the system chooses: open those between all hosts)")
    }

    /// Somebody is known under an address that leads to its own host only, and somebody comes from another host.
    mutating func endStartIfSomebodyIsOutOfReach() {
        guard isStarting else { return }
        let near = sorted { SocketAddress(host: $0.member.host, port: 0)?.isLoopback == true }.first
        let far = sorted { elsewhere[$0.connection] != nil }.first
        guard let near, let far, let host = elsewhere[far.connection] else { return }
        endStart(
            "MASTER_ADDR leads rank \(near.member.rank) to \(near.member.host), which is its own host only, and rank "
                + "\(far.member.rank) comes from \(host): give every rank an address of rank 0's host under which all can reach it")
    }
}
