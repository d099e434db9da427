import Membership
import Wire

/// What a worker does to come from a broken ring, or from none, to the next one: a pure state machine. `Ring` drives it
/// on the compute thread (`Ring+Recovery`); the simulator drives many.
///
///     idle ──▶ joining ──announced──▶ forming ──formed──▶ comparing ──some are behind──▶ copying ──▶ idle, resumed
///                 ▲                      │                    │  └────all are equal────────────────▶ idle, resumed
///                 └──────────────────────┴────────────────────┴──the ring breaks again────┘
///
/// All members of the new ring compare how many sections each has ended. One that is behind has its last section ended
/// by another's values and state; so has a newcomer. What is copied is taken over as a whole or not at all, so that a
/// ring that breaks in between leaves every member with the state of its progress.
package struct Recovery: ~Copyable, Sendable {
    /// What the members tell each other of themselves over the new ring.
    package struct Report: Equatable, Sendable {
        /// Sections ended; -1 for a newcomer, who has no state yet.
        package var progress: Int
        /// The number of values kept of the last section.
        package var keptCount: Int
        /// Whether there is any state to copy (`Ring.synchronise`).
        package var hasState: Bool

        package init(progress: Int, keptCount: Int, hasState: Bool) {
            self.progress = progress
            self.keptCount = keptCount
            self.hasState = hasState
        }
    }

    package enum Event: Sendable {
        /// The ring is broken, or to be formed again, or there is none yet. Ends with `resume`, `prepare`, `depart` or
        /// `fail`.
        case begin(isOpen: Bool, isBoundary: Bool)
        /// A section has ended here.
        case sectionEnded
        case announced(RingAnnouncement)
        /// The coordinator says: the job is running, prepare by yourself.
        case toldToPrepare
        /// The coordinator says: this worker is not needed.
        case dismissed(RingDeparture)
        case formed
        /// No connection with that rank.
        case notFormed(rank: Int, cause: String)
        /// The ring broke, while it was being formed or used for recovery.
        case broken
        /// What the members reported, by place.
        case compared([Report])
        /// Values, and state, of the source are here and taken over.
        case copied
        /// What no new ring can mend.
        case failed(any Error)
    }

    package enum Action: Sendable {
        /// Stop the ring, if there is one, and ask for the next.
        case join(generation: UInt32, isOpen: Bool, isBoundary: Bool, complaint: Complaint?)
        /// Connect with the members.
        case form(RingAnnouncement)
        /// Tell all members how far this one is, and hear the same from each of them: `compared`.
        case compare
        /// Take part in copying from the member at a place: its kept values and, `withState`, its state. `isTaken`:
        /// this one takes it over.
        case copy(source: Int, keptCount: Int, withState: Bool, isTaken: Bool)
        /// The ring is there and all are equal. `wasBehind`: the last section was ended by another's values.
        case resume(wasBehind: Bool)
        /// Be a newcomer.
        case prepare
        case depart(RingDeparture)
        case fail(any Error)
    }

    package struct Complaint: Equatable, Sendable {
        package var rank: Int
        package var cause: String
    }

    /// `isOpen`: newcomers may come into the ring that is being formed.
    private enum State: Equatable {
        case idle
        case joining(isOpen: Bool)
        case forming(isOpen: Bool)
        case comparing(isOpen: Bool)
        /// The members that are behind come to this progress.
        case copying(isOpen: Bool, progress: Int)
    }

    private var state = State.idle
    /// The last generation announced to this worker.
    package private(set) var generation: UInt32 = 0
    /// Sections ended; -1 for a newcomer.
    package private(set) var progress = 0

    package init() {}

    /// Takes an event. All but `sectionEnded` have one action, whose outcome is the next event, until the recovery
    /// ends.
    package mutating func receive(_ event: Event) -> [Action] {
        switch (state, event) {
        case (.idle, .sectionEnded):
            progress += 1
            return []
        case (_, .failed(let error)):
            state = .idle
            return [.fail(error)]
        case (.idle, .begin(let isOpen, let isBoundary)):
            return join(isOpen: isOpen, isBoundary: isBoundary)
        case (.joining(let isOpen), .announced(let announcement)):
            state = .forming(isOpen: isOpen)
            generation = announcement.generation
            return [.form(announcement)]
        case (.joining, .toldToPrepare):
            state = .idle
            progress = -1
            return [.prepare]
        case (.joining, .dismissed(let departure)):
            state = .idle
            return [.depart(departure)]
        case (.forming(let isOpen), .formed):
            // No worker has been in a ring before the first.
            if generation == 1 { return resume() }
            state = .comparing(isOpen: isOpen)
            return [.compare]
        // Where a recovery begins again the others do not come by themselves: it is no boundary.
        case (.forming(let isOpen), .notFormed(let rank, let cause)):
            return join(isOpen: isOpen, isBoundary: false, complaint: Complaint(rank: rank, cause: cause))
        case (.forming(let isOpen), .broken), (.comparing(let isOpen), .broken), (.copying(let isOpen, _), .broken):
            return join(isOpen: isOpen, isBoundary: false)
        case (.comparing(let isOpen), .compared(let reports)):
            return compared(reports, isOpen: isOpen)
        case (.copying(_, let target), .copied):
            let wasBehind = progress < target
            progress = target
            return resume(wasBehind: wasBehind)
        default:
            preconditionFailure("\(event) in state \(state)")
        }
    }

    private mutating func join(isOpen: Bool, isBoundary: Bool, complaint: Complaint? = nil) -> [Action] {
        state = .joining(isOpen: isOpen)
        return [.join(generation: generation, isOpen: isOpen, isBoundary: isBoundary, complaint: complaint)]
    }

    private mutating func resume(wasBehind: Bool = false) -> [Action] {
        state = .idle
        return [.resume(wasBehind: wasBehind)]
    }

    private mutating func compared(_ reports: [Report], isOpen: Bool) -> [Action] {
        let target = reports.map(\.progress).max() ?? -1
        guard target >= 0, let source = reports.firstIndex(where: { $0.progress == target }) else {
            state = .idle
            return [.fail(CollectiveError.stateLost)]
        }
        guard reports.allSatisfy({ $0.progress >= target - 1 || $0.progress == -1 }) else {
            state = .idle
            return [.fail(CollectiveError.sectionsApart(progress: reports.map(\.progress)))]
        }
        guard reports.contains(where: { $0.progress != target }) else { return resume() }
        state = .copying(isOpen: isOpen, progress: target)
        return [
            .copy(
                source: source, keptCount: reports[source].keptCount, withState: reports.allSatisfy(\.hasState),
                isTaken: progress < target)
        ]
    }
}
