import Membership

/// Times collective operations on a ring, beside raw sockets on the same path: what `lockstep bench` runs on every rank.
///
/// A round is: fill the array, wait in a barrier of the same sockets for all ranks, start the clock, do the operation, stop the clock, compare every
/// element with the sum that is known beforehand. A round's time is that of the slowest rank; ranks tell each other their times when
/// all rounds are over. Rounds of the ring and of the raw sockets take turns in blocks, so that what else the machine does meets
/// both, and the first round of each block is not counted.
///
/// Every rank makes the same calls. Used by the compute thread. A ring of one has nothing to time.
public final class Bench {
    private let ring: Ring
    private let raw: BenchRawRing

    private static let blocks = 5

    /// Opens the raw sockets. Throws what the ring throws, and `CollectiveError.noRing` where they do not come about.
    public init(ring: Ring, environment: WorkerEnvironment) throws {
        self.ring = ring
        raw = try BenchRawRing(ring: ring, environment: environment)
    }

    /// As many as the usual benchmarks of other libraries have for a size, so that medians are of the same kind.
    public static func usualRounds(bytes: Int) -> Int {
        if bytes <= 256 << 10 { return 200 }
        return bytes <= 4 << 20 ? 30 : 10
    }

    /// Times one size. `bytes` is the array's on one rank, rounded down to whole elements; a barrier has none.
    public func run(_ operation: BenchOperation, _ reduction: BenchReduction, bytes: Int, rounds: Int? = nil) throws -> BenchLine {
        let count = operation == .barrier ? 0 : bytes / reduction.elementBytes
        let rounds = max(1, rounds ?? Bench.usualRounds(bytes: operation == .barrier ? 0 : bytes))
        let work = BenchWork(operation, reduction, count: count, ring: ring)
        let rawWork = BenchRawWork(operation, bytes: count * reduction.elementBytes, raw: raw, ring: ring)
        var times = [Double]()
        var rawTimes = [Double]()
        var wrong = 0
        var rawWrong = 0
        let blocks = min(Bench.blocks, rounds)
        for block in 0..<blocks {
            let counted = rounds * (block + 1) / blocks - rounds * block / blocks
            times += try runBlock(
                counted, prepare: work.prepare, barrier: ring.barrier, perform: work.perform,
                check: { wrong += work.wrongElements() })
            rawTimes += try runBlock(
                counted, prepare: rawWork.prepare, barrier: raw.barrier, perform: rawWork.perform,
                check: { rawWrong += rawWork.wrongElements() })
        }
        // In one array, so that it is one operation; its maximum is each round's slowest rank.
        var all = times + rawTimes
        try all.withUnsafeMutableBufferPointer { try ring.allReduce($0, .max) }
        var wrongs = [Int64(wrong), Int64(rawWrong)]
        try wrongs.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
        precondition(wrongs[1] == 0, "the raw sockets' sums are wrong in \(wrongs[1]) elements")
        return BenchLine(
            operation: operation, reduction: reduction, worldSize: ring.worldSize, count: count,
            bytes: count * reduction.elementBytes, times: BenchTimes(Array(all[..<rounds])),
            raw: BenchTimes(Array(all[rounds...])), wrong: Int(wrongs[0]))
    }

    /// This rank's times of some rounds, in microseconds; one more is run first.
    private func runBlock(
        _ rounds: Int, prepare: () -> Void, barrier: () throws -> Void, perform: () throws -> Void, check: () -> Void
    ) throws -> [Double] {
        var times: [Double] = []
        for round in 0...rounds {
            prepare()
            try barrier()
            let start = ContinuousClock.now
            try perform()
            let took = ContinuousClock.now - start
            if round > 0 { times.append(Double(took.components.seconds) * 1e6 + Double(took.components.attoseconds) * 1e-12) }
            check()
        }
        return times
    }
}
