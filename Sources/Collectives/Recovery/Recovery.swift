import Membership
import Wire

/// What a worker does to come from a broken ring, or from none, to the next one: a pure state machine. `Ring` drives it on the compute
/// thread; the simulator drives many.
///
///     ──▶ join ──announced──▶ form ──formed──▶ compare ──some are behind──▶ copy ──▶ resume
///           ▲                  │                 │  └────all are equal──────────────▶ resume
///           └──────────────────┴─────────────────┴───the ring breaks again────┘
///
/// All members of the new ring compare how many sections each has ended. One that is behind has its last section ended by another's
/// values and state; so has a newcomer. Whatever is copied is taken over as a whole or not at all, so that a ring that breaks in between
/// leaves every member with the state of its progress.
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
        case announced(RingAnnouncement)
        /// The coordinator says: the job is running, prepare by yourself.
        case toldToPrepare
        case toldToGo(RingDeparture)
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
        /// Tell all members how far this one is, and hear the same of them: `compared`.
        case compare
        /// Take part in copying from the member at a place: its kept values and, `withState`, its state. `isTaken`: this one takes it over.
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

    private enum Phase: Equatable {
        case idle, joining, forming, comparing
        case copying(progress: Int)
    }

    private var phase = Phase.idle
    /// The last generation announced to this worker.
    package private(set) var generation: UInt32 = 0
    /// Sections ended; -1 for a newcomer.
    package private(set) var progress = 0
    private var isOpen = false
    private var wasBehind = false

    package init() {}

    /// A section has ended here.
    package mutating func sectionEnded() {
        progress += 1
    }

    /// The ring is broken, or to be formed anew. Ends with `resume`, `prepare`, `depart` or `fail`.
    package mutating func begin(isOpen: Bool, isBoundary: Bool) -> Action {
        precondition(phase == .idle, "a recovery in a recovery")
        self.isOpen = isOpen
        wasBehind = false
        phase = .joining
        return .join(generation: generation, isOpen: isOpen, isBoundary: isBoundary, complaint: nil)
    }

    package mutating func receive(_ event: Event) -> Action {
        switch (phase, event) {
        case (_, .failed(let error)):
            phase = .idle
            return .fail(error)
        case (.joining, .announced(let announcement)):
            phase = .forming
            generation = announcement.generation
            return .form(announcement)
        case (.joining, .toldToPrepare):
            phase = .idle
            progress = -1
            return .prepare
        case (.joining, .toldToGo(let departure)):
            phase = .idle
            return .depart(departure)
        case (.forming, .formed):
            // Nobody has been in a ring before the first.
            if generation == 1 { return resume() }
            phase = .comparing
            return .compare
        case (.forming, .notFormed(let rank, let cause)):
            return again(Complaint(rank: rank, cause: cause))
        case (.forming, .broken), (.comparing, .broken), (.copying, .broken):
            return again(nil)
        case (.comparing, .compared(let reports)):
            return compared(reports)
        case (.copying(let target), .copied):
            if progress < target {
                wasBehind = true
                progress = target
            }
            return resume()
        default:
            preconditionFailure("\(event) in phase \(phase)")
        }
    }

    private mutating func again(_ complaint: Complaint?) -> Action {
        phase = .joining
        // The others do not come by themselves this time.
        return .join(generation: generation, isOpen: isOpen, isBoundary: false, complaint: complaint)
    }

    private mutating func resume() -> Action {
        phase = .idle
        return .resume(wasBehind: wasBehind)
    }

    private mutating func compared(_ reports: [Report]) -> Action {
        let target = reports.map(\.progress).max() ?? -1
        guard target >= 0, let source = reports.firstIndex(where: { $0.progress == target }) else {
            phase = .idle
            return .fail(CollectiveError.stateLost)
        }
        guard reports.allSatisfy({ $0.progress >= target - 1 || $0.progress == -1 }) else {
            phase = .idle
            return .fail(CollectiveError.sectionsApart(progress: reports.map(\.progress)))
        }
        guard reports.contains(where: { $0.progress != target }) else { return resume() }
        phase = .copying(progress: target)
        return .copy(
            source: source, keptCount: reports[source].keptCount, withState: reports.allSatisfy(\.hasState),
            isTaken: progress < target)
    }
}
