import EventLoop
import Wire

/// When the next generation is formed, and of whom.
extension Roster {
    /// Why the job cannot have so many workers; nil if it can.
    package func scaleRefusal(_ workers: Int) -> String? {
        if workers < 1 || workers > WorkerEnvironment.largestWorld {
            return "a job has 1 to \(WorkerEnvironment.largestWorld) workers, not \(workers)"
        }
        if !configuration.isElastic { return "this job keeps the workers that it began with" }
        if isGathering { return "the job is still starting: ask again when it runs" }
        if isOver { return "the job is over" }
        return nil
    }

    mutating func scale(to workers: Int) {
        guard scaleRefusal(workers) == nil else { return }
        targetSize = workers
        for entry in sorted(where: { $0.standing != .left }) {
            let isUnwanted = Int(entry.member.rank) >= workers
            if entry.isMember {
                entries[entry.member.rank]!.isRetiring = isUnwanted
            } else if isUnwanted {
                retire(entry)
            }
        }
        mayReturn = mayReturn.filter { Int($0) < workers }
        actions.append(.tell(.scale(workers: workers)))
        wishIfWanted()
        formIfComplete()
    }

    private mutating func retire(_ entry: Entry) {
        actions.append(.send(.retire, to: entry.connection))
        remove(entry.member.rank, closing: entry.connection)
        actions.append(.tell(.left(rank: Int(entry.member.rank))))
    }

    /// The ring is broken: whoever has not heard so is told to stop it.
    mutating func interruptOthers(_ cause: String) {
        for entry in sorted(where: { $0.standing == .running(isInterrupted: false) }) {
            entries[entry.member.rank]!.standing = .running(isInterrupted: true)
            formingSince = formingSince ?? now
            actions.append(.send(.interrupt(cause: cause), to: entry.connection))
        }
    }

    /// After a member has gone: the others may be complete without it, or there may be none.
    mutating func endOrForm() {
        guard entries.values.contains(where: \.isMember) else { return end() }
        formIfComplete()
    }

    /// Nobody is left who has work to do. Newcomers have no state to go on with.
    private mutating func end() {
        isOver = true
        let hasEndedWell = entries.values.contains { $0.standing == .left }
        for entry in sorted(where: { $0.standing == .left || hasEndedWell }) {
            actions.append(.send(.over, to: entry.connection))
            remove(entry.member.rank, closing: entry.connection)
        }
        refuseAll("no worker is left that has the run's state")
    }

    /// Announces the next ring if all who are waited for have joined.
    mutating func formIfComplete() {
        let members = sorted(where: \.isMember)
        guard !members.isEmpty, !isOver, firstLoss == nil, awaited.isEmpty else { return }
        var isOpen = !isGathering
        var isBoundary = true
        for member in members {
            guard case .joined(let itsOpen, let itsBoundary) = member.standing else { return }
            isOpen = isOpen && itsOpen
            isBoundary = isBoundary && itsBoundary
        }
        if isGathering, members.count < configuration.worldSize { return }
        if troubleDeadline != nil { return endStartInTrouble() }

        // Somebody must stay who has the run's state.
        let mayGo = isBoundary && members.contains { !$0.isRetiring }
        let retiring = members.filter { mayGo && $0.isRetiring && $0.isRetiringAnnounced }
        let staying = members.filter { member in !retiring.contains { $0.member.rank == member.member.rank } }
        let ready = isOpen ? sorted { $0.standing == .ready } : []
        let next = (staying + ready).sorted { $0.member.rank < $1.member.rank }
        if next.count >= configuration.minWorkers {
            waitingSince = nil
        } else if isOpen, isWorthWaiting(have: next.count) {
            return
        }
        for entry in retiring { retire(entry) }
        announce(next)
    }

    /// With too few workers, whether more may come in time. If not, the run is ordered to stop.
    private mutating func isWorthWaiting(have: Int) -> Bool {
        guard stopOrder == nil else { return false }
        let need = configuration.minWorkers
        if waitingSince == nil {
            waitingSince = now
            actions.append(.tell(.waitingForWorkers(have: have, need: need)))
        }
        let waited = now - waitingSince!
        let mayCome = mayReturn.filter { !(entries[$0]?.isMember ?? false) && entries[$0]?.standing != .ready }.count
        if have + mayCome >= need, waited < configuration.rejoinTimeout { return true }
        stopOrder =
            have + mayCome < need
            ? "\(have) of the \(need) workers that it needs \(have == 1 ? "is" : "are") left, and no other will come"
            : "\(have) of the \(need) workers that it needs \(have == 1 ? "was" : "were") there within \(configuration.rejoinTimeout.secondsText)"
        waitingSince = nil
        return false
    }

    private mutating func announce(_ next: [Entry]) {
        tellEndedLinks()
        generation += 1
        hasWished = false
        stalls = [:]
        stallDeadline = nil
        formingSince = nil
        ledger = ClaimLedger()
        let members = next.map(\.member)
        let announcement = RingAnnouncement(
            generation: generation, members: members, retiring: next.filter(\.isRetiring).map(\.member.rank), stop: stopOrder)
        for entry in next {
            entries[entry.member.rank]!.standing = .running(isInterrupted: false)
            entries[entry.member.rank]!.isRetiringAnnounced = entry.isRetiring
            actions.append(.send(.ring(announcement), to: entry.connection))
        }
        actions.append(.tell(.formed(generation: generation, ranks: members.map { Int($0.rank) })))
        wishIfWanted()
    }

    /// Tells the members, once a generation, if there is a reason to form the ring anew at a boundary.
    mutating func wishIfWanted() {
        guard !hasWished, !isGathering, !isOver else { return }
        let members = entries.values.filter(\.isMember)
        let isWanted =
            entries.values.contains { $0.standing == .ready } || members.contains(where: \.isRetiring)
            || (members.count < configuration.minWorkers && stopOrder == nil)
        guard isWanted else { return }
        hasWished = true
        for entry in sorted(where: { if case .running = $0.standing { true } else { false } }) {
            actions.append(.send(.wantsReform, to: entry.connection))
        }
    }
}
