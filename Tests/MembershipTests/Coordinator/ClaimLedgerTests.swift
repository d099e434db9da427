import Membership
import TestSupport
import Testing

@Suite struct ClaimLedgerTests {
    /// What came of a section: which pieces each member did, and when the last was done.
    private struct Result {
        var pieces: [[UInt32]]
        var end: Double
    }

    /// Members with so many seconds a piece work through a section as `Ring.claim` says: the next piece is asked for when one begins.
    private func work(
        _ ledger: inout ClaimLedger, section: UInt64, count: UInt32, secondsAPiece: [Double], from start: Double
    ) -> Result {
        var result = Result(pieces: Array(repeating: [], count: secondsAPiece.count), end: start)
        /// When each member begins its next piece; nil when it has none.
        var begins: [(at: Double, piece: UInt32)?] = []
        func claim(_ member: Int, _ at: Double, _ ledger: inout ClaimLedger) -> UInt32? {
            ledger.claim(rank: UInt32(member), section: section, count: count, at: .seconds(at))
        }
        for member in secondsAPiece.indices { begins.append(claim(member, start, &ledger).map { (start, $0) }) }
        while let (member, (at, piece)) = begins.enumerated().compactMap({ index, next in next.map { (index, $0) } })
            .min(by: { $0.1.at < $1.1.at })
        {
            result.pieces[member].append(piece)
            let end = at + secondsAPiece[member]
            result.end = max(result.end, end)
            begins[member] = claim(member, at, &ledger).map { (end, $0) }
        }
        return result
    }

    /// The least time in which members can do so many pieces.
    private func best(_ count: Int, _ secondsAPiece: [Double]) -> Double {
        var free = secondsAPiece
        var end = 0.0
        for _ in 0..<count {
            let soonest = free.indices.min { free[$0] < free[$1] }!
            end = max(end, free[soonest])
            free[soonest] += secondsAPiece[soonest]
        }
        return end
    }

    @Test(arguments: [0, 1, 2, 3, 7, 16, 100])
    func everyPieceGoesToOneMember(count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        for _ in 0..<50 {
            var ledger = ClaimLedger()
            let speeds = (0..<Int.random(in: 1...6, using: &generator)).map { _ in Double.random(in: 0.1...3, using: &generator) }
            var start = 0.0
            for section in 0..<5 {
                let result = work(&ledger, section: UInt64(section), count: UInt32(count), secondsAPiece: speeds, from: start)
                #expect(result.pieces.flatMap { $0 }.sorted() == Array(0..<UInt32(count)))
                for pieces in result.pieces { #expect(pieces == pieces.sorted()) }
                start = result.end + 0.01
            }
        }
    }

    /// After the first section, from which it learns, a section takes hardly longer than it must.
    @Test(arguments: [[1.0, 1], [1, 2], [2, 1], [1, 1, 1, 1], [1, 1, 1, 3], [0.5, 1, 1.5, 2, 2.5]])
    func slowMembersDoNotHoldUpTheEnd(secondsAPiece: [Double]) {
        for count in [8, 16, 23, 64] where count >= 2 * secondsAPiece.count {
            var ledger = ClaimLedger()
            var start = 0.0
            for section in 0..<6 {
                let result = work(&ledger, section: UInt64(section), count: UInt32(count), secondsAPiece: secondsAPiece, from: start)
                let time = result.end - start
                if section >= 1 {
                    #expect(time <= best(count, secondsAPiece) * 1.13 + 1e-6, "\(count) pieces, section \(section): \(time)")
                }
                start = result.end + 0.25
            }
        }
    }

    /// A claim with another count than the section's is a program's fault, and gets nothing.
    @Test func anotherCountGetsNothing() {
        var ledger = ClaimLedger()
        #expect(ledger.claim(rank: 0, section: 3, count: 4, at: .zero) == 0)
        #expect(ledger.claim(rank: 1, section: 3, count: 5, at: .zero) == nil)
        #expect(ledger.claim(rank: 0, section: 3, count: 4, at: .zero) == 1)
        #expect(ledger.claim(rank: 0, section: 4, count: 5, at: .zero) == 0)
    }
}
