import Glibc

/// Checks a ring's sums against answers that are known beforehand: what `lockstep check` runs on every rank.
///
/// Inputs are made so that the right result is known exactly and can be compared with `==`: whole numbers small enough that no sum
/// of them is rounded in the type at hand; and, for the exact sum, multiples of 2^-20 over 44 binary orders of magnitude that
/// mostly cancel, whose sum is taken in integers.
/// Between operations each rank waits for a short random time, so that they arrive in changing orders, and several operations are
/// under way at once.
public struct RingCheck: Sendable {
    /// One line of the table: a type with an operation, over all lengths.
    public struct Outcome: Sendable, Equatable {
        public var type: String
        public var operation: String
        public var operations: Int
        /// Elements compared, over all ranks, and those that were wrong.
        public var elements: Int
        public var wrong: Int
        /// Of the lowest rank that has one.
        public var firstWrong: Wrong?
    }

    public struct Wrong: Sendable, Equatable {
        public var rank: Int
        public var length: Int
        public var index: Int
        public var got: Double
        public var expected: Double
    }

    public let seed: UInt64
    /// The longest operation, in bytes.
    public let largestBytes: Int

    public static let operationsAtOnce = 3

    public init(seed: UInt64 = 1, largestBytes: Int = 4 << 20) {
        self.seed = seed
        self.largestBytes = largestBytes
    }

    /// What a line of the table is about.
    public enum Kind: Sendable, CaseIterable {
        case float32, float64, int32, int64, bfloat16, exact
    }

    /// All lines, in the order in which they are to be run.
    public static var lines: [(kind: Kind, operation: ReduceOperation)] {
        Kind.allCases.flatMap { kind in (kind == .exact ? [.sum] : ReduceOperation.allCases).map { (kind, $0) } }
    }

    /// Nothing, one, around the number of ranks, primes, and lengths that no segment or vector divides, up to the largest.
    public func lengths(worldSize: Int, elementBytes: Int) -> [Int] {
        let fixed = [0, 1, 2, 3, 17, 127, 1009, 4097, 65_521, 65_537, 1_000_003, 4_194_319]
        let around = [worldSize - 1, worldSize, worldSize + 1, 7 * worldSize + 1]
        let most = largestBytes / elementBytes
        return Set(fixed + around + [most]).filter { $0 >= 0 && $0 <= most }.sorted()
    }

    /// Runs one line on this rank. Every rank runs the same lines in the same order and gets the same outcome.
    public func run(_ kind: Kind, _ operation: ReduceOperation, on ring: Ring) throws -> Outcome {
        switch kind {
        case .float32: try run(Line<Float>(name: "float32", operation: operation, value: { Float($0) }, number: { Double($0) }), ring)
        case .float64: try run(Line<Double>(name: "float64", operation: operation, value: { Double($0) }, number: { $0 }), ring)
        case .int32: try run(Line<Int32>(name: "int32", operation: operation, value: { Int32($0) }, number: { Double($0) }), ring)
        case .int64: try run(Line<Int64>(name: "int64", operation: operation, value: { Int64($0) }, number: { Double($0) }), ring)
        case .bfloat16:
            try run(
                Line<BFloat16>(
                    name: "bfloat16", operation: operation, value: { BFloat16(Float($0)) }, number: { Double(Float($0)) }), ring)
        case .exact: try runExact(ring)
        }
    }

    // MARK: Lines

    private struct Line<Element: RingElement> {
        var name: String
        var operation: ReduceOperation
        var value: (Int) -> Element
        var number: (Element) -> Double
    }

    /// -1, 0 or 1, by rank and index; a sum over 128 ranks is still exact in bfloat16's eight bits.
    private func small(rank: Int, index: Int) -> Int {
        (rank &* 7 &+ index &* 5 &+ rank &* index) % 3 - 1
    }

    private func run<Element>(_ line: Line<Element>, _ ring: Ring) throws -> Outcome {
        var tally = Tally(rank: ring.rank, worldSize: ring.worldSize)
        var delays = Delays(seed: seed, rank: ring.rank)
        let expected = { (index: Int) -> Double in
            let values = (0..<ring.worldSize).map { small(rank: $0, index: index) }
            switch line.operation {
            case .sum: return Double(values.reduce(0, +))
            case .max: return Double(values.max()!)
            case .min: return Double(values.min()!)
            }
        }
        for length in lengths(worldSize: ring.worldSize, elementBytes: MemoryLayout<Element>.stride) {
            let memories = (0..<Self.operationsAtOnce).map { _ in UnsafeMutableBufferPointer<Element>.allocate(capacity: max(length, 1)) }
            defer { memories.forEach { $0.deallocate() } }
            var tickets: [Ring.Ticket] = []
            for (shift, memory) in memories.enumerated() {
                for index in 0..<length { memory[index] = line.value(small(rank: ring.rank, index: index + shift)) }
                delays.wait()
                tickets.append(try ring.startAllReduce(UnsafeMutableBufferPointer(rebasing: memory[..<length]), line.operation))
            }
            for (shift, memory) in memories.enumerated() {
                try ring.wait(for: tickets[shift])
                tally.operations += 1
                // Expected values repeat with the period of `small` in the index, so a table of it serves all.
                let table = (0..<3).map { expected($0 + shift) }
                for index in 0..<length { tally.compare(line.number(memory[index]), table[index % 3], length: length, index: index) }
            }
        }
        return try tally.outcome(type: line.name, operation: "\(line.operation)", on: ring)
    }

    private func runExact(_ ring: Ring) throws -> Outcome {
        var tally = Tally(rank: ring.rank, worldSize: ring.worldSize)
        var delays = Delays(seed: seed, rank: ring.rank)
        for length in lengths(worldSize: ring.worldSize, elementBytes: 4) {
            let memory = UnsafeMutableBufferPointer<Float>.allocate(capacity: max(length, 1))
            defer { memory.deallocate() }
            for index in 0..<length { memory[index] = Float(Double(multiple(rank: ring.rank, index: index)) * 0x1p-20) }
            delays.wait()
            try ring.allReduceExactly(UnsafeMutableBufferPointer(rebasing: memory[..<length]))
            tally.operations += 1
            for index in 0..<length {
                let sum = (0..<ring.worldSize).reduce(Int64(0)) { $0 + multiple(rank: $1, index: index) }
                tally.compare(Double(memory[index]), Double(Float(Double(sum) * 0x1p-20)), length: length, index: index)
            }
        }
        return try tally.outcome(type: "exact", operation: "sum", on: ring)
    }

    /// A multiple of the exact check's 2^-20: ranks 2 k and 2 k + 1 have large opposite numbers that differ by a small one.
    private func multiple(rank: Int, index: Int) -> Int64 {
        var mixed = (UInt64(index) &+ 1) &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(rank / 2) &* 0xD1B5_4A32_D192_ED03
        mixed ^= mixed >> 29
        let shift = mixed % 21
        // 23 bits, so that it is a float32 as it stands; shifted, up to 2^43.
        let large = Int64(mixed >> 41) << Int64(shift)
        let small = Int64(mixed & 0x3FF)
        return rank % 2 == 0 ? large : (large > 1 << 24 ? -large : small - large)
    }
}

/// Counts what one rank compares, and puts all ranks' counts together.
private struct Tally {
    let rank: Int
    let worldSize: Int
    var operations = 0
    private var elements = 0
    private var wrong = 0
    private var first: (length: Int, index: Int, got: Double, expected: Double)?

    init(rank: Int, worldSize: Int) {
        self.rank = rank
        self.worldSize = worldSize
    }

    mutating func compare(_ got: Double, _ expected: Double, length: Int, index: Int) {
        elements += 1
        guard got != expected else { return }
        wrong += 1
        if first == nil { first = (length, index, got, expected) }
    }

    /// Each rank's figures travel in places of their own.
    func outcome(type: String, operation: String, on ring: Ring) throws -> RingCheck.Outcome {
        let width = 6
        var places = [Double](repeating: 0, count: worldSize * width)
        let own: [Double] = [
            Double(elements), Double(wrong), Double(first?.length ?? 0), Double(first?.index ?? 0), first?.got ?? 0,
            first?.expected ?? 0,
        ]
        places.replaceSubrange((rank * width)..<((rank + 1) * width), with: own)
        try places.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
        func total(_ place: Int) -> Int { (0..<worldSize).reduce(0) { $0 + Int(places[$1 * width + place]) } }
        let faulty = (0..<worldSize).first { places[$0 * width + 1] > 0 }
        return RingCheck.Outcome(
            type: type, operation: operation, operations: operations, elements: total(0), wrong: total(1),
            firstWrong: faulty.map { rank in
                RingCheck.Wrong(
                    rank: rank, length: Int(places[rank * width + 2]), index: Int(places[rank * width + 3]),
                    got: places[rank * width + 4], expected: places[rank * width + 5])
            })
    }
}

/// Random pauses of a rank's own, the same for the same seed.
private struct Delays {
    private var state: UInt64
    private static let longestMicroseconds: UInt64 = 300

    init(seed: UInt64, rank: Int) {
        state = seed &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(rank) &* 0xD1B5_4A32_D192_ED03
    }

    mutating func wait() {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        usleep(UInt32((state >> 33) % Delays.longestMicroseconds))
    }
}
