import EventLoop
import Membership
import Wire

/// From a broken ring, or none, to the next: drives the state machine `Recovery`.
extension Ring {
    /// Members that have all joined a moment ago connect in milliseconds; one that cannot is complained about after
    /// twice the time that a sign of life may take.
    private var formationLimit: Duration { min(environment.timeout, environment.peerTimeout * 2) }

    /// Returns when the next ring is there and all its members are equal, or, in a job that is running, when this is a
    /// newcomer. Whether this rank was behind, so that its section was ended by another's values.
    func recover(isOpen: Bool, isBoundary: Bool) throws -> Bool {
        // What is done on the way is done in the ring's own operations.
        let wasInSection = isInSection
        isInSection = true
        defer { isInSection = wasInSection }
        var actions = recovery.receive(.begin(isOpen: isOpen, isBoundary: isBoundary))
        while let action = actions.popLast() {
            switch action {
            case .join(let generation, let isOpen, let isBoundary, let complaint):
                actions += recovery.receive(
                    join(generation: generation, isOpen: isOpen, isBoundary: isBoundary, complaint: complaint))
            case .form(let announcement):
                actions += recovery.receive(form(announcement))
            case .compare:
                actions += recovery.receive(compare())
            case .copy(let source, let keptCount, let withState, let isTaken):
                actions += recovery.receive(
                    copy(from: source, keptCount: keptCount, withState: withState, isTaken: isTaken))
            case .resume(let wasBehind):
                isNewcomer = false
                progress = recovery.progress
                progressAtFormation = progress
                return wasBehind
            case .prepare:
                stopData()
                isNewcomer = true
                return false
            case .depart(let departure):
                stopData()
                throw departure
            case .fail(let error):
                throw error
            }
        }
        preconditionFailure("a recovery has come to no end")
    }

    private func join(generation: UInt32, isOpen: Bool, isBoundary: Bool, complaint: Recovery.Complaint?) -> Recovery.Event {
        guard let control, let address = environment.coordinator else { preconditionFailure("a ring without coordinator has joined") }
        stopData()
        let reports = linkReports(complaint, isBoundary: isBoundary)
        hasAskedForClaim = false
        bytesSentBefore += shared.withLock { $0.bytesSent }
        let host: Result<String, any Error> = shared.wait(.computeThread) { shared in
            if let exclusion = shared.news.exclusion { return .failure(exclusion) }
            return shared.localHost.map { .success($0) }
        }
        return event {
            let host = try host.get()
            shared.withLock { $0.beginGeneration() }
            let data = try DataPlane(environment, secret: address.secret, shared: shared)
            self.data = data
            data.stalled = { [weak control] in control?.stalled(waitingFor: $0, limit: $1) }
            let port = try data.listen(on: host)
            shared.withLock { $0.plane = data }
            control.join(generation: generation, isOpen: isOpen, isBoundary: isBoundary, port: port, reports: reports)
            data.waitForAnswer()
            let answer: Result<Recovery.Event, any Error> = shared.withLock { shared in
                shared.news.answer.map { .success($0) } ?? .failure(shared.failure ?? CollectiveError.closed)
            }
            return try answer.get()
        }
    }

    /// What the coordinator must know about the ring that ended: which rank this one could not reach, or which
    /// connection has ended. At a boundary all end theirs.
    private func linkReports(_ complaint: Recovery.Complaint?, isBoundary: Bool) -> [RingShared.LinkReport] {
        var reports: [RingShared.LinkReport] = []
        func add(_ complaint: Recovery.Complaint) {
            guard !reports.contains(where: { $0.rank == complaint.rank }) else { return }
            reports.append(.init(rank: complaint.rank, cause: complaint.cause, isSilent: true))
        }
        if let complaint { add(complaint) }
        unreached.forEach(add)
        unreached = []
        let lost = shared.withLock { shared in
            defer { shared.lostLink = nil }
            return shared.lostLink
        }
        if let lost, reports.isEmpty, !isBoundary { reports.append(lost) }
        return reports
    }

    private func form(_ announcement: RingAnnouncement) -> Recovery.Event {
        members = announcement.members.map { Int($0.rank) }
        worldSize = members.count
        place = members.firstIndex(of: rank)!
        membersOnThisHost = announcement.members.count { $0.hostName == announcement.members[place].hostName }
        generation = Int(announcement.generation)
        retiring = Set(announcement.retiring.map { Int($0) })
        stopText = announcement.stop
        guard worldSize > 1 else {
            stopData()
            return .formed
        }
        return event {
            do {
                try data!.form(
                    generation: announcement.generation, members: announcement.members, place: place, within: formationLimit)
            } catch CollectiveError.noRing(let rank, _, let cause) {
                unreached = data?.unreached ?? []
                return .notFormed(rank: rank, cause: cause)
            }
            return .formed
        }
    }

    private func compare() -> Recovery.Event {
        let width = 3
        var reports = [Int64](repeating: 0, count: worldSize * width)
        reports[place * width] = Int64(recovery.progress)
        reports[place * width + 1] = Int64(keptValues.count)
        reports[place * width + 2] = synchronise == nil ? 0 : 1
        return event {
            try reports.withUnsafeMutableBufferPointer { try allGather($0) }
            return .compared(
                (0..<worldSize).map {
                    Recovery.Report(
                        progress: Int(reports[$0 * width]), keptCount: Int(reports[$0 * width + 1]),
                        hasState: reports[$0 * width + 2] != 0)
                })
        }
    }

    private func copy(from source: Int, keptCount: Int, withState: Bool, isTaken: Bool) -> Recovery.Event {
        event {
            var values = source == place ? keptValues : [Double](repeating: 0, count: keptCount)
            try values.withUnsafeMutableBufferPointer { try broadcast($0, from: source) }
            if withState { try synchronise?(source) }
            if isTaken { keptValues = values }
            return .copied
        }
    }

    /// What became of a part of the recovery: a failure that the next ring can mend is an event like others.
    private func event(_ body: () throws -> Recovery.Event) -> Recovery.Event {
        do {
            return try body()
        } catch let error as CollectiveError where error.isRingFailure {
            return .broken
        } catch {
            return .failed(error)
        }
    }
}
