import Datasets
import Testing

struct SampleOrderTests {
    @Test(arguments: [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 100, 255, 256, 257, 1437, 60_000, 65_537])
    func anEpochIsAPermutation(count: Int) {
        for (seed, epoch) in [(0, 0), (0, 1), (1, 0), (UInt64.max, 12345)] {
            let samples = SampleOrder(seed: seed, count: count).samples(epoch: epoch, positions: 0..<count)
            #expect(samples.sorted() == Array(0..<count))
        }
    }

    /// Made by scripts/golden-sample-order.py.
    @Test(arguments: [
        (0, 10, 0, [0, 2, 8, 1, 5, 6, 4, 3, 7, 9]),
        (0, 10, 1, [8, 6, 5, 1, 9, 3, 7, 2, 4, 0]),
        (1, 10, 0, [8, 1, 5, 0, 2, 4, 7, 6, 3, 9]),
        (UInt64.max, 3, 7, [2, 0, 1]),
        (42, 60000, 3, [41692, 9283, 18120, 36832, 7064, 41418, 14038, 2984, 27991, 52212]),
        (
            42, 1 << 40, 2,
            [
                498746082062, 9309571672, 878262445320, 606961791683, 665970250725, 387740210332, 1090675486577,
                32859269535, 226279678167, 624191802916,
            ]
        ),
    ] as [(UInt64, Int, Int, [Int])])
    func theOrderIsFixed(seed: UInt64, count: Int, epoch: Int, expected: [Int]) {
        let order = SampleOrder(seed: seed, count: count)
        #expect(order.samples(epoch: epoch, positions: 0..<expected.count) == expected)
        #expect((0..<expected.count).map { order.sample(epoch: epoch, position: $0) } == expected)
    }

    @Test(arguments: [1 << 40, (1 << 40) + 1, SampleOrder.maximumCount - 1, SampleOrder.maximumCount])
    func hugeCountsNeedNoMemory(count: Int) {
        let order = SampleOrder(seed: 3, count: count)
        let positions = [0, 1, 2, count / 2, count - 2, count - 1]
        let samples = positions.map { order.sample(epoch: 9, position: $0) }
        #expect(Set(samples).count == positions.count)
        #expect(samples.allSatisfy { (0..<count).contains($0) })
    }

    @Test func epochsAndSeedsDiffer() {
        let first = SampleOrder(seed: 5, count: 1000).samples(epoch: 0, positions: 0..<1000)
        let nextEpoch = SampleOrder(seed: 5, count: 1000).samples(epoch: 1, positions: 0..<1000)
        let nextSeed = SampleOrder(seed: 6, count: 1000).samples(epoch: 0, positions: 0..<1000)
        // Two unrelated permutations agree in one place on average.
        #expect(zip(first, nextEpoch).count { $0 == $1 } < 10)
        #expect(zip(first, nextSeed).count { $0 == $1 } < 10)
        #expect(zip(nextEpoch, nextSeed).count { $0 == $1 } < 10)
    }

    /// All n! orders of n samples come equally often over many epochs: chi-squared with n! - 1 degrees of freedom stays
    /// within five standard deviations of its mean.
    @Test(arguments: [(2, 2), (3, 6), (4, 24), (5, 120)])
    func smallOrdersAreUniform(count: Int, orders: Int) {
        let order = SampleOrder(seed: 11, count: count)
        let epochs = 200 * orders
        var counts: [[Int]: Int] = [:]
        for epoch in 0..<epochs { counts[order.samples(epoch: epoch, positions: 0..<count), default: 0] += 1 }
        #expect(counts.count == orders)
        #expect(chiSquared(Array(counts.values), expected: 200) < bound(degrees: orders - 1))
    }

    /// Each sample comes equally often at the first position, and neighbours are unrelated.
    @Test(arguments: [10, 16, 60])
    func positionsAreUniform(count: Int) {
        let order = SampleOrder(seed: 12, count: count)
        var first = [Int](repeating: 0, count: count)
        var distance = [Int](repeating: 0, count: count)
        for epoch in 0..<(200 * count) {
            let samples = order.samples(epoch: epoch, positions: 0..<2)
            first[samples[0]] += 1
            distance[(samples[1] - samples[0] + count) % count] += 1
        }
        #expect(chiSquared(first, expected: 200) < bound(degrees: count - 1))
        #expect(distance[0] == 0)
        let expected = Double(200 * count) / Double(count - 1)
        #expect(chiSquared(Array(distance[1...]), expected: expected) < bound(degrees: count - 2))
    }

    private func chiSquared(_ counts: [Int], expected: Double) -> Double {
        counts.reduce(0) { $0 + (Double($1) - expected) * (Double($1) - expected) / expected }
    }

    private func bound(degrees: Int) -> Double {
        Double(degrees) + 5 * (2 * Double(degrees)).squareRoot()
    }
}
