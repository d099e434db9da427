/// Who is slow: what a micro-batch takes each member, against the median of all.
///
/// A rank that is slow for good is told apart from one that was busy for a moment: only a score above the limit in ten steps in a row,
/// over five seconds at least, is worth a word, and only one. Nobody is removed for it.
package struct SlownessJudge {
    /// A member and its time by the median's.
    package struct Verdict: Equatable, Sendable {
        package var place: Int
        package var score: Double

        package init(place: Int, score: Double) {
            self.place = place
            self.score = score
        }
    }

    /// Scores above this are slow.
    package static let limit = 1.5
    package static let steps = 10
    package static let time = Duration.seconds(5)

    /// The slowest member of the last step; nil where there is nothing to compare.
    package private(set) var slowest: Verdict?
    private var generation = -1
    /// Since when, and for how many steps, each place has been slow.
    private var slowSince: [Int: (steps: Int, since: ContinuousClock.Instant)] = [:]
    private var told: Set<Int> = []
    private var news: Verdict?

    package init() {}

    /// Takes a step's times, by place; zeros are members that computed nothing. Another generation has other members.
    package mutating func take(_ milliseconds: [Double], generation: Int, now: ContinuousClock.Instant = .now) {
        if generation != self.generation {
            self = SlownessJudge()
            self.generation = generation
        }
        slowest = nil
        let known = milliseconds.filter { $0 > 0 }.sorted()
        // Of two, the faster one is what the other could be.
        guard known.count >= 2, known.count == known.filter(\.isFinite).count else { return }
        let median = known[(known.count - 1) / 2]
        for (place, time) in milliseconds.enumerated() {
            let score = time / median
            if score >= slowest?.score ?? 0 { slowest = Verdict(place: place, score: score) }
            guard score > SlownessJudge.limit else {
                slowSince[place] = nil
                continue
            }
            var slow = slowSince[place] ?? (0, now)
            slow.steps += 1
            slowSince[place] = slow
            if slow.steps >= SlownessJudge.steps, now - slow.since >= SlownessJudge.time, told.insert(place).inserted {
                news = Verdict(place: place, score: score)
            }
        }
    }

    /// A member that has just been found to be slow for good; each once.
    package mutating func takeNews() -> Verdict? {
        defer { news = nil }
        return news
    }
}
