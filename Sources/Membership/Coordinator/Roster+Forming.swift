import EventLoop
import Wire

/// When the next generation is formed, and of which workers.
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
        for entry in entries.sorted(where: { $0.standing != .left }) {
            let isUnwanted = Int(entry.member.rank) >= workers
            if entry.isMember {
                entries.change(entry.member.rank) { $0.isRetiring = isUnwanted }
            } else if isUnwanted {
                retire(entry)
            }
        }
        mayReturn = mayReturn.filter { Int($0) < workers }
        actions.append(.tell(.scale(workers: workers)))
        tellIfReformIsWanted()
        formIfComplete()
    }

    private mutating func retire(_ entry: Entry) {
        actions.append(.send(.retire, to: entry.connection))
        remove(entry.member.rank, closing: entry.connection)
        actions.append(.tell(.left(rank: Int(entry.member.rank))))
    }

    /// The ring is broken: members that have not heard so are told to stop it.
    mutating func interruptOthers(_ cause: String) {
        for entry in entries.sorted(where: { $0.standing == .running(isInterrupted: false) }) {
            beginReforming()
            entries.change(entry.member.rank) { $0.standing = .running(isInterrupted: true) }
            actions.append(.send(.interrupt(cause: cause), to: entry.connection))
        }
    }

    /// After a member has gone: the others may be complete without it, or there may be none.
    mutating func endOrForm() {
        guard entries.all.contains(where: \.isMember) else { return end() }
        formIfComplete()
    }

    /// No member is left that has work to do. Newcomers have no state to go on with.
    private mutating func end() {
        state = .over(Ending())
        start = .settled
        let hasEndedWell = entries.all.contains { $0.standing == .left }
        for entry in entries.sorted(where: { $0.standing == .left || hasEndedWell }) {
            actions.append(.send(.over, to: entry.connection))
            remove(entry.member.rank, closing: entry.connection)
        }
        refuseAll("no worker is left that has the run's state")
    }

    /// Announces the next ring if all that are waited for have joined.
    mutating func formIfComplete() {
        switch state {
        case .gathering, .running, .reforming, .waiting: break
        case .succeeding, .failed, .over: return
        }
        let members = entries.sorted(where: \.isMember)
        guard !members.isEmpty else { return }
        var isOpen = !isGathering
        var isBoundary = true
        for member in members {
            guard case .joined(let itsOpen, let itsBoundary) = member.standing else { return }
            isOpen = isOpen && itsOpen
            isBoundary = isBoundary && itsBoundary
        }
        if isGathering, members.count < configuration.worldSize { return }
        if case .provisional(let provision) = start, provision.verdictAt != nil { return endStartInTrouble() }

        // A member must stay that has the run's state.
        let mayGo = isBoundary && members.contains { !$0.isRetiring }
        func goes(_ member: Entry) -> Bool { mayGo && member.isRetiring && member.isRetiringAnnounced }
        let ready = isOpen ? entries.sorted { $0.standing == .ready } : []
        let next = (members.filter { !goes($0) } + ready).sorted { $0.member.rank < $1.member.rank }
        if next.count < configuration.minWorkers, isOpen, isWorthWaiting(have: next.count) { return }
        for member in members where goes(member) { retire(member) }
        announce(next)
    }

    /// With too few workers, whether more may come in time. If not, the run is ordered to stop.
    private mutating func isWorthWaiting(have: Int) -> Bool {
        guard stopOrder == nil else { return false }
        let need = configuration.minWorkers
        var since = now
        if case .waiting(let known) = state {
            since = known
        } else {
            state = .waiting(since: now)
            actions.append(.tell(.waitingForWorkers(have: have, need: need)))
        }
        let mayCome = mayReturn.filter { !(entries[$0]?.isMember ?? false) && entries[$0]?.standing != .ready }.count
        let limit = configuration.rejoinTimeout
        if have + mayCome >= need, now - since < limit { return true }
        stopOrder =
            have + mayCome < need
            ? "\(have) of the \(need) workers that it needs \(have == 1 ? "is" : "are") left, and no other will come"
            : "\(have) of the \(need) workers that it needs \(have == 1 ? "was" : "were") there within "
                + limit.secondsText
        return false
    }

    private mutating func announce(_ next: [Entry]) {
        tellEndedLinks()
        ring = CurrentRing(generation: ring.generation + 1)
        state = .running
        let members = next.map(\.member)
        let announcement = RingAnnouncement(
            generation: generation, members: members, retiring: next.filter(\.isRetiring).map(\.member.rank),
            stop: stopOrder)
        for entry in next {
            entries.change(entry.member.rank) {
                $0.standing = .running(isInterrupted: false)
                $0.isRetiringAnnounced = entry.isRetiring
            }
            actions.append(.send(.ring(announcement), to: entry.connection))
        }
        actions.append(.tell(.formed(generation: generation, ranks: members.map { Int($0.rank) })))
        tellIfReformIsWanted()
    }

    /// Tells the members, once a generation, if there is a reason to form the ring again at a boundary.
    mutating func tellIfReformIsWanted() {
        guard !ring.wantsReform, !isGathering, !isOver else { return }
        let members = entries.all.filter(\.isMember)
        ring.wantsReform =
            entries.all.contains { $0.standing == .ready } || members.contains(where: \.isRetiring)
            || (members.count < configuration.minWorkers && stopOrder == nil)
        guard ring.wantsReform else { return }
        for entry in entries.sorted(where: \.isRunning) { actions.append(.send(.wantsReform, to: entry.connection)) }
    }
}
