import Testing
import Training

@Suite struct SlownessTests {
    private let start = ContinuousClock.now

    /// Feeds steps a second apart, and gives at which of them there was news.
    private func news(_ steps: [[Double]], spacing: Duration = .seconds(1), generation: (Int) -> Int = { _ in 1 }) -> [Int: SlownessJudge.Verdict] {
        var judge = SlownessJudge()
        var news: [Int: SlownessJudge.Verdict] = [:]
        for (index, times) in steps.enumerated() {
            judge.take(times, generation: generation(index), now: start + spacing * index)
            if let verdict = judge.takeNews() { news[index] = verdict }
        }
        return news
    }

    @Test(arguments: [
        ([1.0, 1, 2, 1], 2, 2.0), ([4, 1], 0, 4), ([1, 3, 0], 1, 3), ([2, 2, 2], 2, 1), ([1, 2, 4, 8, 16], 4, 4),
    ])
    func theScoreIsAgainstTheMedian(times: [Double], place: Int, score: Double) {
        var judge = SlownessJudge()
        judge.take(times, generation: 1)
        #expect(judge.slowest == .init(place: place, score: score))
    }

    @Test(arguments: [[], [1], [0, 3], [0, 0, 0], [1, .nan]] as [[Double]])
    func thereMayBeNothingToCompare(times: [Double]) {
        var judge = SlownessJudge()
        judge.take(times, generation: 1)
        #expect(judge.slowest == nil)
    }

    @Test func whoIsSlowForGoodIsToldOnce() {
        let steps = Array(repeating: [1.0, 1, 2], count: 40)
        #expect(news(steps) == [9: .init(place: 2, score: 2)])
        #expect(news(steps, spacing: .milliseconds(250)) == [20: .init(place: 2, score: 2)], "five seconds at least")
    }

    @Test func aMomentIsNothing() {
        var steps = Array(repeating: [1.0, 1, 2], count: 40)
        for index in stride(from: 0, to: 40, by: 9) { steps[index] = [1, 1, 1.4] }
        #expect(news(steps).isEmpty)
        #expect(news(Array(repeating: [1.0, 1, 2], count: 18), generation: { $0 / 9 }).isEmpty, "another ring, another count")
    }
}
