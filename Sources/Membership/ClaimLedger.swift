/// Who does which piece of a section's work, where pieces go to whoever is free: a pure state machine.
///
/// Pieces are handed out in order, each once. A member asks for one piece ahead of the one that it works on. So that the end of a
/// section is not a slow member's last piece, one is refused if the others will have finished all that is left before it would have
/// finished one more, judged by the mean time that each has taken for a piece in this generation.
package struct ClaimLedger {
    /// What is known of a member's speed.
    private struct Pace {
        var lastClaim: Duration
        var section: UInt64
        /// Pieces asked for in the section.
        var pieces: Int
        /// Mean seconds a piece, once two have been asked for.
        var mean: Double?
    }

    private var section: UInt64?
    private var next: UInt32 = 0
    private var count: UInt32 = 0
    private var paces: [UInt32: Pace] = [:]
    /// Members that were told that there is no more, in this section.
    private var done: Set<UInt32> = []

    package init() {}

    /// The next of `count` pieces of a section for a member; nil if there is none for it.
    package mutating func claim(rank: UInt32, section: UInt64, count: UInt32, at now: Duration) -> UInt32? {
        if section != self.section {
            self.section = section
            self.count = count
            next = 0
            done = []
        }
        note(rank, section, now)
        guard count == self.count, next < count, !done.contains(rank), isWorthIt(rank, now) else {
            done.insert(rank)
            return nil
        }
        defer { next += 1 }
        return next
    }

    /// Between two claims of a section lies one piece.
    private mutating func note(_ rank: UInt32, _ section: UInt64, _ now: Duration) {
        guard var pace = paces[rank], pace.section == section else {
            paces[rank] = Pace(lastClaim: now, section: section, pieces: 1, mean: paces[rank]?.mean)
            return
        }
        // The first claim of a section is answered while its maker waits, and followed at once by the one ahead.
        if pace.pieces >= 2 {
            let seconds = (now - pace.lastClaim) / .seconds(1)
            pace.mean = pace.mean.map { $0 + (seconds - $0) * 0.25 } ?? seconds
        }
        pace.pieces += 1
        pace.lastClaim = now
        paces[rank] = pace
    }

    /// Whether the others would not have done all that is left before this member had done one more, after the one that it works on.
    private func isWorthIt(_ rank: UInt32, _ now: Duration) -> Bool {
        guard let own = paces[rank]?.mean, own > 0 else { return true }
        let others = paces.filter { $0.key != rank && !done.contains($0.key) }
        guard !others.isEmpty else { return true }
        var piecesASecond = 0.0
        for pace in others.values {
            // Of whom nothing is known yet may be slower still.
            guard let mean = pace.mean, mean > 0 else { return true }
            piecesASecond += 1 / mean
        }
        let left = Double(count - next)
        // Each of the others has a piece of its own under way and one ahead, as this one has.
        return left / piecesASecond >= own
    }
}
