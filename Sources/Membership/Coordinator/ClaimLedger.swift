/// Which member does which piece of a section's work, where pieces go to members that are free: a pure state machine,
/// driven by `Roster`.
///
/// Pieces are handed out in order, each once. A member asks for its next piece when it begins one, so that it never
/// waits. So that the end of a section is not a slow member's last piece, one is refused if the others, each taking the
/// next piece when it is free, will have done all that is left before this member would have done one more. Times are
/// predicted from the mean time that each member has taken for a piece in this generation.
package struct ClaimLedger {
    private struct Pace {
        /// The section of the last claim, and how many claims there were in it.
        var section: UInt64
        var claims = 0
        var lastClaim: Duration
        /// Mean seconds a piece, once one has been timed.
        var mean: Double?
        /// When it will have done what it has, in seconds.
        var free: Double
        var isDone = false
    }

    private var section: UInt64?
    private var next: UInt32 = 0
    private var count: UInt32 = 0
    private var paces: [UInt32: Pace] = [:]

    /// With more pieces left than this for each member, no member is refused.
    private static let longestForesight = 64

    package init() {}

    /// The next of `count` pieces of a section for a member; nil if there is none for it, now or later.
    package mutating func claim(rank: UInt32, section: UInt64, count: UInt32, at now: Duration) -> UInt32? {
        if section != self.section { begin(section, count) }
        note(rank, now)
        guard count == self.count, next < count, !paces[rank]!.isDone, isWorthIt(rank, now / .seconds(1)) else {
            paces[rank]!.isDone = true
            return nil
        }
        paces[rank]!.free += paces[rank]!.mean ?? 0
        defer { next += 1 }
        return next
    }

    private mutating func begin(_ section: UInt64, _ count: UInt32) {
        self.section = section
        self.count = count
        next = 0
        for rank in paces.keys { paces[rank]!.isDone = false }
    }

    /// Between the second claim of a section and the third, and so on, lies one piece: the first two come when the
    /// first piece begins.
    private mutating func note(_ rank: UInt32, _ now: Duration) {
        let seconds = now / .seconds(1)
        var pace = paces[rank] ?? Pace(section: section!, lastClaim: now, free: seconds)
        if pace.section != section {
            pace.section = section!
            pace.claims = 0
        }
        if pace.claims >= 2 {
            let taken = (now - pace.lastClaim) / .seconds(1)
            pace.mean = pace.mean.map { $0 + (taken - $0) * 0.25 } ?? taken
        }
        pace.claims += 1
        pace.lastClaim = now
        // At its first claim it has no work; at each later one it begins the piece that it claimed before.
        pace.free = seconds + (pace.claims > 1 ? pace.mean ?? 0 : 0)
        paces[rank] = pace
    }

    private func isWorthIt(_ rank: UInt32, _ now: Double) -> Bool {
        guard let own = paces[rank]?.mean, let free = paces[rank]?.free else { return true }
        let left = Int(count - next)
        var others: [(free: Double, mean: Double)] = []
        for (other, pace) in paces where other != rank && !pace.isDone {
            // A member of which nothing is known may be slower still.
            guard let mean = pace.mean, mean > 0 else { return true }
            others.append((max(pace.free, now), mean))
        }
        guard !others.isEmpty, left <= others.count * ClaimLedger.longestForesight else { return true }
        var end = 0.0
        for _ in 0..<left {
            let soonest = others.indices.min { others[$0].free + others[$0].mean < others[$1].free + others[$1].mean }!
            others[soonest].free += others[soonest].mean
            end = max(end, others[soonest].free)
        }
        return end >= free + own
    }
}
