import Collectives
import Membership

/// Times collective operations on a ring, beside raw sockets on the same path: what `lockstep bench` runs on every rank.
///
/// A round is: fill the arrays, wait in a barrier of the same sockets for all ranks, start the clock, do the operations, stop the clock, compare
/// every element with the sum that is known beforehand. A round has one operation, or `Bench.operations` of them one after the other where
/// they are so short that the ranks' leaving the barrier at different moments would be what is timed. Its time is that of the slowest
/// rank, divided by its operations; ranks tell each other their times when all rounds are over. The 99th percentile is of single
/// operations, each as slow as its slowest rank. Rounds of the ring and of the raw sockets take turns in blocks, so that what else the machine
/// does meets both, and the first round of each block is not counted.
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
        if bytes <= longestOfMany { return 100 }
        if bytes <= 256 << 10 { return 200 }
        return bytes <= 4 << 20 ? 30 : 10
    }

    /// Operations of one round.
    public static func operations(bytes: Int) -> Int {
        bytes <= longestOfMany ? 20 : 1
    }

    private static let longestOfMany = 16 << 10

    /// Times one size. `bytes` is the array's on one rank, rounded down to whole elements; a barrier has none.
    public func run(_ operation: BenchOperation, _ reduction: BenchReduction, bytes: Int, rounds: Int? = nil) throws -> BenchLine {
        let count = operation == .barrier ? 0 : bytes / reduction.elementBytes
        let rounds = max(1, rounds ?? Bench.usualRounds(bytes: operation == .barrier ? 0 : bytes))
        let operations = Bench.operations(bytes: count * reduction.elementBytes)
        let work = BenchWork(operation, reduction, count: count, copies: operations, ring: ring)
        let rawWork = BenchRawWork(operation, bytes: count * reduction.elementBytes, copies: operations, raw: raw, ring: ring)
        var times = Times()
        var rawTimes = Times()
        var wrong = 0
        var rawWrong = 0
        let blocks = min(Bench.blocks, rounds)
        for block in 0..<blocks {
            let counted = rounds * (block + 1) / blocks - rounds * block / blocks
            try times.run(
                counted, operations, prepare: work.prepare, barrier: ring.barrier, perform: work.perform,
                check: { wrong += work.wrongElements() })
            try rawTimes.run(
                counted, operations, prepare: rawWork.prepare, barrier: raw.barrier, perform: rawWork.perform,
                check: { rawWrong += rawWork.wrongElements() })
        }
        // In one array, so that it is one operation; its maximum is each round's and each operation's slowest rank.
        var all = times.rounds + rawTimes.rounds + times.operations + rawTimes.operations
        try all.withUnsafeMutableBufferPointer { try ring.allReduce($0, .max) }
        let raw = all[rounds..<(2 * rounds)]
        let single = all[(2 * rounds)..<(2 * rounds + rounds * operations)]
        var wrongs = [Int64(wrong), Int64(rawWrong)]
        try wrongs.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
        precondition(wrongs[1] == 0, "the raw sockets' sums are wrong in \(wrongs[1]) elements")
        return BenchLine(
            operation: operation, reduction: reduction, worldSize: ring.worldSize, count: count,
            bytes: count * reduction.elementBytes, times: BenchTimes(rounds: Array(all[..<rounds]), operations: Array(single)),
            raw: BenchTimes(rounds: Array(raw), operations: Array(all.suffix(rounds * operations))), wrong: Int(wrongs[0]))
    }

    /// One rank's times in microseconds: of an operation in each round's mean, and of each operation.
    private struct Times {
        var rounds: [Double] = []
        var operations: [Double] = []

        /// Runs some rounds, and one before them that is not counted.
        mutating func run(
            _ count: Int, _ perRound: Int, prepare: (Int) -> Void, barrier: () throws -> Void, perform: (Int) throws -> Void,
            check: () -> Void
        ) throws {
            operations.reserveCapacity(operations.count + count * perRound)
            for round in 0...count {
                for copy in 0..<perRound { prepare(copy) }
                try barrier()
                let start = ContinuousClock.now
                var last = start
                for copy in 0..<perRound {
                    try perform(copy)
                    let now = ContinuousClock.now
                    if round > 0 { operations.append(microseconds(now - last)) }
                    last = now
                }
                if round > 0 { rounds.append(microseconds(last - start) / Double(perRound)) }
                check()
            }
        }

        private func microseconds(_ duration: Duration) -> Double {
            Double(duration.components.seconds) * 1e6 + Double(duration.components.attoseconds) * 1e-12
        }
    }
}
