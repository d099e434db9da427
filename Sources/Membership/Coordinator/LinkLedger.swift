/// Which members report trouble in reaching each other: a pure value, kept by `Roster`.
///
/// A connection that cannot be made, or over which nothing arrives, counts once a generation for its two ranks. After a
/// number of generations in a row the two cannot be in one ring.
struct LinkLedger {
    /// Two ranks, the lower one first.
    struct Link: Hashable {
        let low: UInt32
        let high: UInt32

        init(_ one: UInt32, _ other: UInt32) {
            low = min(one, other)
            high = max(one, other)
        }

        func touches(_ rank: UInt32) -> Bool { low == rank || high == rank }
    }

    /// What one rank says of its connection with another.
    struct Report: Equatable {
        var by: UInt32
        var about: UInt32
        var cause: String
    }

    private struct Trouble {
        var count: Int
        var generation: UInt32
        var report: Report
    }

    private var troubles: [Link: Trouble] = [:]
    /// The first connection of this generation that ended. It may be a consequence of something else.
    private(set) var firstEnd: Report?

    /// When two members have failed to connect this many times in a row, one of them must go.
    static let mostFailures = 3

    /// A rank cannot reach another. Returns whether that is news in this generation, and for how many generations in a
    /// row it has been so.
    mutating func failed(_ report: Report, generation: UInt32) -> (isNews: Bool, count: Int) {
        let link = Link(report.by, report.about)
        let before = troubles[link]
        if let before, before.generation == generation { return (false, before.count) }
        let isInARow = before.map { $0.generation + 1 == generation } ?? false
        let count = isInARow ? (before?.count ?? 0) + 1 : 1
        troubles[link] = Trouble(count: count, generation: generation, report: report)
        return (true, count)
    }

    /// A connection has ended, closed by its peer or broken by the network.
    mutating func ended(_ report: Report) {
        firstEnd = firstEnd ?? report
    }

    /// What was said about connections in this generation, in the order of the ranks.
    func reports(generation: UInt32) -> [Report] {
        troubles.filter { $0.value.generation == generation }
            .sorted { ($0.key.low, $0.key.high) < ($1.key.low, $1.key.high) }
            .map(\.value.report)
    }

    /// Which of the two must go: the one that has trouble with more of the others lately, else the higher rank. Never
    /// `own`.
    func culprit(of report: Report, generation: UInt32, own: UInt32?) -> UInt32 {
        let link = Link(report.by, report.about)
        if link.low == own { return link.high }
        if link.high == own { return link.low }
        func troubles(of rank: UInt32) -> Int {
            self.troubles.count { $0.key.touches(rank) && $0.value.generation + 1 >= generation }
        }
        return troubles(of: link.low) > troubles(of: link.high) ? link.low : link.high
    }

    /// One of the two has been sent away.
    mutating func forget(_ report: Report) {
        troubles[Link(report.by, report.about)] = nil
    }

    /// The next generation's ring is announced.
    mutating func beginGeneration() {
        firstEnd = nil
    }
}
