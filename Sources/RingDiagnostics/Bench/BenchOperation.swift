import Collectives

/// What `lockstep bench` times, with the formula that makes times of different numbers of ranks comparable.
///
/// With n ranks, an operation over `bytes` bytes that takes t seconds has
///
///     algbw = bytes / t
///     busbw = algbw * busFactor
///
/// algbw is what a program sees. It falls with n even on a perfect network, so busbw counts instead what the busiest link has to
/// carry: on a ring every rank has one link out, and by the plan of `RingPlan`
///
///     all-reduce      each rank sends all chunks but one, twice: 2 (n - 1) chunks of bytes / n     2 (n - 1) / n
///     reduce-scatter  the first half of that: n - 1 chunks                                        (n - 1) / n
///     all-gather      the second half: n - 1 chunks                                               (n - 1) / n
///     broadcast       the root, and every rank but the last, sends everything once                1
///     barrier         there is nothing to carry                                                   0
///
/// No algorithm moves less over its busiest link (Patarasuk and Yuan, 2009), so busbw can be held against the link's own speed,
/// whatever n is. The definitions are those of nccl-tests; `bytes` is the whole array on one rank in all of them.
public enum BenchOperation: String, Sendable, CaseIterable {
    /// Every rank gets the sum of all.
    case allReduce = "all-reduce"
    /// Every rank gets the sum of its chunk.
    case reduceScatter = "reduce-scatter"
    /// Every rank gets all chunks.
    case allGather = "all-gather"
    /// Every rank gets what rank 0 has.
    case broadcast
    /// Every rank waits for all.
    case barrier

    /// busbw / algbw.
    public func busFactor(worldSize: Int) -> Double {
        let n = Double(worldSize)
        return switch self {
        case .allReduce: 2 * (n - 1) / n
        case .reduceScatter, .allGather: (n - 1) / n
        case .broadcast: 1
        case .barrier: 0
        }
    }

    /// The hops of a ring all-reduce that the operation is made of.
    func hops(worldSize: Int) -> Range<Int> {
        switch self {
        case .allReduce, .barrier: 0..<(2 * (worldSize - 1))
        case .reduceScatter: 0..<(worldSize - 1)
        case .allGather, .broadcast: (worldSize - 1)..<(2 * (worldSize - 1))
        }
    }
}

/// How elements are summed in a measurement.
public enum BenchReduction: String, Sendable, CaseIterable {
    /// float32, summed as it comes: the usual ring.
    case fp32
    /// The exact sum as a training step has it: carriers that were accumulated before the clock starts, float32 out of it. `bytes`
    /// are the float32 result's; on the wire the first half of the ring has eight bytes an element, the second four, so that
    /// 1.5 times the bytes of fp32 move.
    case exact
    /// `Ring.allReduceExactly`, the whole call on float32: the maximum over all ranks, the rounding to the grid, then as `exact`.
    case exactValues = "exact-values"
    /// bfloat16 elements, added in float32 and rounded at every hop.
    case bf16

    /// The name of the elements that a program has before and after.
    public var typeName: String { self == .bf16 ? "bfloat16" : "float32" }

    /// Their size.
    public var elementBytes: Int { self == .bf16 ? 2 : 4 }

    /// Whether there is such a measurement: only an all-reduce has an exact form.
    public func isPossible(_ operation: BenchOperation) -> Bool {
        operation == .allReduce || self == .fp32 || self == .bf16
    }
}
