import Collectives

/// One size's measurement: a line of the table. Every rank has the same one.
public struct BenchLine: Sendable, Equatable {
    /// What was timed.
    public var operation: BenchOperation
    /// How elements were summed.
    public var reduction: BenchReduction
    /// Ranks that took part.
    public var worldSize: Int
    /// Elements of the array on one rank.
    public var count: Int
    /// Bytes of the array on one rank; with `exact` of the float32 result.
    public var bytes: Int
    /// What the rounds took.
    public var times: BenchTimes
    /// The same of the raw sockets, on float32 of as many bytes.
    public var raw: BenchTimes
    /// Elements that were not what they had to be, over all ranks and rounds.
    public var wrong: Int

    /// GB/s, of the median.
    public var algorithmBandwidth: Double { gigabytesPerSecond(times.median) }
    /// GB/s; see `BenchOperation`.
    public var busBandwidth: Double { algorithmBandwidth * operation.busFactor(worldSize: worldSize) }
    /// GB/s.
    public var rawBusBandwidth: Double { gigabytesPerSecond(raw.median) * operation.busFactor(worldSize: worldSize) }
    /// How much of the raw sockets' speed is left: 1 is all of it.
    public var shareOfRaw: Double { raw.median / times.median }

    private func gigabytesPerSecond(_ microseconds: Double) -> Double { Double(bytes) / microseconds / 1000 }
}

/// What one operation of a measurement takes, in microseconds, as slow as its slowest rank.
public struct BenchTimes: Sendable, Equatable {
    /// Over rounds, of each round's mean.
    public var median: Double
    /// The fastest round.
    public var least: Double
    /// 99 of 100 operations took no longer; the longest of fewer.
    public var percentile99: Double

    package init(rounds: [Double], operations: [Double]) {
        precondition(!rounds.isEmpty && !operations.isEmpty)
        let sorted = rounds.sorted()
        median = sorted[sorted.count / 2]
        least = sorted[0]
        let single = operations.sorted()
        percentile99 = single[min(single.count - 1, single.count * 99 / 100)]
    }
}
