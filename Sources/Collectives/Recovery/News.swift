import Membership

/// What a worker knows about its membership and about what is wrong with the current ring: a pure state machine, kept
/// in `RingShared`. It has no actions, because the threads that wait for something look at it: `ControlPlane` hands it
/// what the coordinator says, `Ring` and `DataPlane` what they see.
package struct News {
    package enum Event {
        /// This worker has stopped its ring, and is about to join the next.
        case generationBegan
        /// The coordinator says something. `completed` operations and `bytesMoved` are those of the current ring, for
        /// its failure.
        case told(MemberProtocol.Notice, completed: UInt64, bytesMoved: UInt64)
        /// The current ring has failed, as this rank sees. Only the first failure counts: the others come of it.
        case ringFailed(any Error)
        /// This worker is about to ask for a piece of work.
        case claimAsked
    }

    private enum Standing {
        case member
        /// The coordinator has sent this worker home.
        case dismissed(RingDeparture)
        case excluded(MembershipError)
    }

    /// How far this worker has come to its next ring.
    private enum Joining {
        /// It has not asked for one yet.
        case idle
        /// It has asked: what is said about the ring before does not concern it.
        case waiting
        /// It has its answer, and is in that ring, if the answer is one.
        case answered(Recovery.Event)
    }

    /// What is wrong with this generation's ring.
    private enum Failure {
        case none
        /// As this rank has seen it, which may be a consequence only.
        case seen(any Error)
        /// As the coordinator says.
        case told(any Error)
    }

    private var standing = Standing.member
    private var joining = Joining.idle
    private var ringFailure = Failure.none
    /// The host name of every rank that has been in a ring with this one.
    private var hostNames: [Int: String] = [:]
    /// A newcomer waits to come in, or a member is retiring: the ring is to be formed again at the next boundary.
    package private(set) var wantsReform = false
    /// The last answer to a claim.
    package private(set) var claim: (section: UInt64, piece: Int?)?
    /// The coordinator is lost with the rank that it was in: why this worker stops, for people.
    package private(set) var coordinatorLoss: String?

    package init() {}

    package mutating func receive(_ event: Event) {
        switch event {
        case .generationBegan: beginGeneration()
        case .told(let notice, let completed, let bytesMoved): told(notice, completed, bytesMoved)
        case .ringFailed(let error): if case .none = ringFailure { ringFailure = .seen(error) }
        case .claimAsked: claim = nil
        }
    }

    // MARK: What is known

    /// The coordinator's answer to the last join.
    package var answer: Recovery.Event? { if case .answered(let answer) = joining { answer } else { nil } }

    /// What is wrong with this generation's ring.
    package var failure: (any Error)? {
        switch ringFailure {
        case .none: nil
        case .seen(let error), .told(let error): error
        }
    }

    /// What the coordinator says is wrong, rather than what this rank has seen.
    package var verdict: (any Error)? { if case .told(let error) = ringFailure { error } else { nil } }

    /// Why this worker is no member any more; nothing comes after it.
    package var exclusion: MembershipError? { if case .excluded(let error) = standing { error } else { nil } }

    /// All members have left.
    package var isOver: Bool { if case .dismissed(.over) = standing { true } else { false } }

    // MARK: Events

    private mutating func beginGeneration() {
        wantsReform = false
        claim = nil
        joining = .waiting
        ringFailure = .none
        switch standing {
        case .member: break
        case .dismissed(let departure): joining = .answered(.dismissed(departure))
        case .excluded(let error): ringFailure = .told(error)
        }
    }

    private mutating func told(_ notice: MemberProtocol.Notice, _ completed: UInt64, _ bytesMoved: UInt64) {
        switch notice {
        case .announced(let announcement):
            for member in announcement.members { hostNames[Int(member.rank)] = member.hostName }
            joining = .answered(.announced(announcement))
        case .toldToPrepare: joining = .answered(.toldToPrepare)
        case .retired: dismiss(.retired)
        case .over: dismiss(.over)
        case .lost(let rank, let cause):
            let host = hostNames[rank] ?? "?"
            judge(.peerLost(rank: rank, host: host, operation: completed, bytesMoved: bytesMoved, cause: cause))
        case .orphaned(let rank, let cause):
            let text = "the coordinator went with rank \(rank): \(cause)"
            coordinatorLoss = text
            judge(.interrupted(cause: text))
        case .interrupted(let cause): judge(.interrupted(cause: cause))
        case .wantsReform: wantsReform = true
        case .claimed(_, let section, let piece): claim = (section, piece)
        case .failed(let error):
            standing = .excluded(error)
            ringFailure = .told(error)
        }
    }

    private mutating func dismiss(_ departure: RingDeparture) {
        standing = .dismissed(departure)
        joining = .answered(.dismissed(departure))
    }

    /// What the coordinator says counts more than what this rank has seen, unless that is no failure of the ring.
    private mutating func judge(_ error: CollectiveError) {
        if case .waiting = joining { return }
        switch ringFailure {
        case .none: ringFailure = .told(error)
        case .seen(let seen): if (seen as? CollectiveError)?.isRingFailure != false { ringFailure = .told(error) }
        case .told: break
        }
    }
}
