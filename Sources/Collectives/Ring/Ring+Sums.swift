/// Sums that not every member gets, and values made of them that all get: for an optimizer whose state is shared out.
///
/// The owner of a chunk has its sum, and so has the member after it, which keeps a copy of what the owner keeps. Both make the chunk's new
/// values of it, so that the chunk has not to be sent from the one to the other: with the copies, both halves move the bytes of an
/// all-reduce of the gradients and no more.
extension Ring {
    /// Who gets the sums of an operation.
    package enum Reach: Sendable {
        case everyMember
        /// Chunk i goes to the members at places i and i + 1, chunks beginning at multiples of `grain`; elsewhere the result holds nothing of use.
        case ownerAndNext(grain: Int)

        fileprivate var pattern: RingPlan.Pattern {
            switch self {
            case .everyMember: .allReduce
            case .ownerAndNext: .reduceScatter(copies: 1)
            }
        }

        /// The elements, of so many, of which the member at a place gets the sums.
        package func parts(of count: Int, place: Int, worldSize: Int) -> [Range<Int>] {
            switch self {
            case .everyMember:
                return [0..<count]
            case .ownerAndNext(let grain):
                let owners = worldSize == 1 ? [0] : [place, (place + worldSize - 1) % worldSize]
                return owners.map { RingPlan.chunk($0, of: count, worldSize: worldSize, grain: grain) }
            }
        }

        fileprivate var grain: Int {
            switch self {
            case .everyMember: 1
            case .ownerAndNext(let grain): grain
            }
        }
    }

    /// Starts the float32 sum, as `startAllReduce(_:into:)`.
    package func startSum(
        of values: UnsafeBufferPointer<Float>, into result: UnsafeMutablePointer<Float>, for reach: Reach
    ) throws -> Ticket {
        guard let base = values.baseAddress else { return Ticket(sequence: 0, generation: generation) }
        return try start(Reduction(.float32), base, result, values.count, reach)
    }

    /// Starts the exact sum, as `startAllReduce(carriers:into:)`.
    package func startSum(
        ofCarriers carriers: UnsafeBufferPointer<Double>, into result: UnsafeMutablePointer<Float>, for reach: Reach
    ) throws -> Ticket {
        guard let base = carriers.baseAddress else { return Ticket(sequence: 0, generation: generation) }
        return try start(Reduction(.carrier), base, result, carriers.count, reach)
    }

    /// Starts the bfloat16 sum in place, as `startAllReduce(_:)`.
    package func startSum(of values: UnsafeMutableBufferPointer<BFloat16>, for reach: Reach) throws -> Ticket {
        guard let base = values.baseAddress else { return Ticket(sequence: 0, generation: generation) }
        return try start(Reduction(.bfloat16), base, base, values.count, reach)
    }

    private func start(
        _ reduction: Reduction, _ source: UnsafeRawPointer, _ result: UnsafeMutableRawPointer, _ count: Int, _ reach: Reach
    ) throws -> Ticket {
        try submit(
            .init(reduction: reduction, source: source, result: result, count: count, pattern: reach.pattern, grain: reach.grain))
    }

    /// Starts what gives every member all chunks, of which each begins with those that it got by `Reach.ownerAndNext`, in place.
    ///
    /// The memory is the ring's until the ticket has been waited for. nil where every member has all.
    package func startAllGather(fromCopies values: UnsafeMutableBufferPointer<Float>, grain: Int) throws -> Ticket? {
        guard worldSize > 2, let base = values.baseAddress else { return nil }
        return try submit(
            .init(
                reduction: Reduction(.float32), source: base, result: base, count: values.count, pattern: .allGather(copies: 1),
                grain: grain))
    }
}
