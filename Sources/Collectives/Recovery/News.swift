import Membership

/// What a worker has heard from the coordinator, and what it means to the ring at hand: a pure state machine.
package struct News {
    /// This worker has joined and waits for what the coordinator answers: news of the ring before mean nothing to it.
    private var isWaiting = false
    package private(set) var answer: Recovery.Event?
    /// The first failure of this generation's ring, seen here or told.
    package var failure: (any Error)?
    /// The failure is what the coordinator says; else it is what this rank has seen, which may be a consequence only.
    package private(set) var isJudged = false
    /// Why this worker is no member any more; nothing comes after it.
    package private(set) var exclusion: MembershipError?
    package private(set) var isOver = false
    /// The coordinator has sent this worker home.
    private var departure: RingDeparture?
    package private(set) var wishesReform = false
    /// The coordinator is lost with the rank that it was in: why this worker stops, for people.
    package private(set) var bereavement: String?
    package var claim: (section: UInt64, piece: Int?)?

    package init() {}

    /// This worker has stopped its ring, and is about to join the next.
    package mutating func beginGeneration() {
        failure = exclusion
        isJudged = exclusion != nil
        isWaiting = true
        answer = departure.map { .toldToGo($0) }
        wishesReform = false
        claim = nil
    }

    /// `host` names a rank's; `completed` and `bytesMoved` are of the ring at hand, for its failure.
    package mutating func hear(
        _ event: MemberProtocol.Event, host: (Int) -> String, completed: UInt64, bytesMoved: UInt64
    ) {
        switch event {
        case .announced(let announcement): answer(.announced(announcement))
        case .toldToPrepare: answer(.toldToPrepare)
        case .retired: goHome(.retired)
        case .over:
            isOver = true
            goHome(.over)
        case .lost(let rank, let cause):
            fail(.peerLost(rank: rank, host: host(rank), operation: completed, bytesMoved: bytesMoved, cause: cause))
        case .orphaned(let rank, let cause):
            let text = "the coordinator went with rank \(rank): \(cause)"
            bereavement = text
            fail(.interrupted(cause: text))
        case .interrupted(let cause): fail(.interrupted(cause: cause))
        case .wishesReform: wishesReform = true
        case .claimed(_, let section, let piece): claim = (section, piece)
        case .failed(let error):
            exclusion = error
            failure = error
            isJudged = true
        }
    }

    private mutating func answer(_ answer: Recovery.Event) {
        isWaiting = false
        self.answer = answer
    }

    private mutating func goHome(_ departure: RingDeparture) {
        self.departure = departure
        answer(.toldToGo(departure))
    }

    /// What the coordinator says stands above what this rank has seen.
    private mutating func fail(_ error: CollectiveError) {
        guard !isWaiting, !isJudged else { return }
        if let seen = failure as? CollectiveError, !seen.isRingFailure { return }
        failure = error
        isJudged = true
    }
}
