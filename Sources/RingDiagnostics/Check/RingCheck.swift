import Collectives

/// Checks a ring's results against answers that are known beforehand: what `lockstep check` runs on every rank.
///
/// Inputs are made so that the right result is known exactly and can be compared with `==`: whole numbers small enough that no sum
/// of them is rounded in the type at hand; and, for the exact sum, multiples of 2^-20 over 44 binary orders of magnitude that
/// mostly cancel, whose sum is taken in integers. They repeat with a prime period, which no chunk or segment is a multiple of, so
/// that what lands in a wrong place is wrong.
/// Between operations each rank waits for a short random time, so that they arrive in changing orders, and several operations are
/// under way at once.
public struct RingCheck: Sendable {
    /// One line of the table: an operation on a type, over all lengths.
    public struct Outcome: Sendable, Equatable {
        /// What was done, as the table has it.
        public var operation: String
        /// The type of the elements.
        public var type: String
        /// How they were reduced; "-" where nothing was.
        public var reduction: String
        /// Operations that were checked.
        public var operations: Int
        /// Elements compared, over all ranks.
        public var elements: Int
        /// Elements that were not what they had to be, over all ranks.
        public var wrong: Int
        /// Of the lowest rank that has one.
        public var firstWrong: Wrong?
    }

    /// An element that is not what it has to be.
    public struct Wrong: Sendable, Equatable {
        /// Where it is.
        public var rank: Int
        /// Elements of the operation.
        public var length: Int
        /// Which of them it is.
        public var index: Int
        /// What is there.
        public var got: Double
        /// What should be there.
        public var expected: Double
    }

    /// Of the random delays and numbers.
    public let seed: UInt64
    /// The longest operation, in bytes.
    public let largestBytes: Int

    /// Operations under way at a time.
    public static let operationsAtOnce = 3

    /// A check whose longest operation has `largestBytes` bytes.
    public init(seed: UInt64 = 1, largestBytes: Int = 4 << 20) {
        self.seed = seed
        self.largestBytes = largestBytes
    }

    /// What a line of the table is about: all-reduces of a type, then the exact sum's two calls, then the other operations.
    public enum Kind: Sendable, CaseIterable {
        /// All-reduces of plain elements.
        case float32, float64, int32, int64, bfloat16
        /// Exact, of carriers accumulated beforehand.
        case carriers
        /// Exact, of float32: the whole call.
        case exact
        /// The parts of an all-reduce by themselves, and a broadcast.
        case reduceScatter, allGather, broadcast

        var hasAllReductions: Bool {
            switch self {
            case .float32, .float64, .int32, .int64, .bfloat16: true
            case .carriers, .exact, .reduceScatter, .allGather, .broadcast: false
            }
        }
    }

    /// All lines, in the order in which they are to be run.
    public static var lines: [(kind: Kind, operation: ReduceOperation)] {
        Kind.allCases.flatMap { kind in (kind.hasAllReductions ? ReduceOperation.allCases : [.sum]).map { (kind, $0) } }
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
        let wholeNumbers = 1 << 20
        switch kind {
        case .float32:
            return try allReduce(Numbers<Float>("float32", most: wholeNumbers) { Float($0) } number: { Double($0) }, operation, ring)
        case .float64:
            return try allReduce(Numbers<Double>("float64", most: wholeNumbers) { Double($0) } number: { $0 }, operation, ring)
        case .int32:
            return try allReduce(Numbers<Int32>("int32", most: wholeNumbers) { Int32($0) } number: { Double($0) }, operation, ring)
        case .int64:
            return try allReduce(Numbers<Int64>("int64", most: wholeNumbers) { Int64($0) } number: { Double($0) }, operation, ring)
        case .bfloat16:
            // Eight bits of significand hold whole numbers up to 256.
            let numbers = Numbers<BFloat16>("bfloat16", most: 256) { BFloat16(Float($0)) } number: { Double(Float($0)) }
            return try allReduce(numbers, operation, ring)
        case .carriers: return try carriers(ring)
        case .exact: return try exact(ring)
        case .reduceScatter, .allGather, .broadcast: return try other(kind, ring)
        }
    }
}
