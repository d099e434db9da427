import Collectives

/// One measurement's operation with its memory: made ready, done and checked, as often as wanted, in several copies that can be done one
/// after the other.
///
/// Owns the arrays, page-aligned. Used by the compute thread.
final class BenchWork {
    let ring: Ring
    let operation: BenchOperation
    let reduction: BenchReduction
    let count: Int

    /// What the operation reads and writes; with `exact` the carriers that it reads are in `carriers`.
    private let arrays: UnsafeMutableRawPointer
    private let arrayBytes: Int
    private let copies: Int
    private let carriers: UnsafeMutableRawPointer?
    private let own: BenchPattern
    private let ownCarriers: BenchPattern?
    private let sums: BenchPattern
    private static let pageBytes = 4096

    init(_ operation: BenchOperation, _ reduction: BenchReduction, count: Int, copies: Int, ring: Ring) {
        precondition(reduction.isPossible(operation))
        self.ring = ring
        self.operation = operation
        self.reduction = reduction
        self.count = count
        let element = reduction == .bf16 ? BenchPattern.Element.bfloat16 : .float32
        own = BenchPattern(element, rank: ring.place, worldSize: ring.worldSize, limit: element)
        sums = BenchPattern(sumOf: element, worldSize: ring.worldSize)
        // SAFETY: freed in deinit, after the last operation has been waited for or the ring has failed; written by `prepare`.
        self.copies = copies
        arrayBytes = (max(1, count) * element.bytes + BenchWork.pageBytes - 1) & ~(BenchWork.pageBytes - 1)
        arrays = .allocate(byteCount: copies * arrayBytes, alignment: BenchWork.pageBytes)
        if reduction == .exact {
            ownCarriers = BenchPattern(.float64, rank: ring.place, worldSize: ring.worldSize, limit: element)
            let carriers = UnsafeMutableRawPointer.allocate(byteCount: max(1, count) * 8, alignment: BenchWork.pageBytes)
            ownCarriers?.fill(carriers, 0..<count)
            self.carriers = carriers
        } else {
            ownCarriers = nil
            carriers = nil
        }
    }

    deinit {
        arrays.deallocate()
        carriers?.deallocate()
    }

    private func array(_ copy: Int) -> UnsafeMutableRawPointer { arrays + copy * arrayBytes }

    /// Fills a copy with what the operation begins with. An all-gather's and a broadcast's contribution is the sums' pattern, and
    /// this rank's own, which is another, stands where it must not stay.
    func prepare(_ copy: Int) {
        let array = array(copy)
        own.fill(array, 0..<count)
        switch operation {
        case .allReduce, .reduceScatter, .barrier: break
        case .allGather: sums.fill(array, chunk)
        case .broadcast: if ring.place == 0 { sums.fill(array, 0..<count) }
        }
    }

    /// What is timed.
    func perform(_ copy: Int) throws {
        let array = array(copy)
        switch reduction {
        case .fp32: try perform(array.assumingMemoryBound(to: Float.self))
        case .bf16: try perform(array.assumingMemoryBound(to: BFloat16.self))
        case .exact:
            let carriers = UnsafeBufferPointer(start: carriers!.assumingMemoryBound(to: Double.self), count: count)
            try ring.wait(for: ring.startAllReduce(carriers: carriers, into: array.assumingMemoryBound(to: Float.self)))
        case .exactValues:
            try ring.allReduceExactly(UnsafeMutableBufferPointer(start: array.assumingMemoryBound(to: Float.self), count: count))
        }
    }

    /// Elements on this rank, in all copies, that are not what the operation must have made of them.
    func wrongElements() -> Int {
        let chunk = chunk
        return (0..<copies).reduce(0) { wrong, copy in
            let array = array(copy)
            return switch operation {
            case .allReduce, .allGather, .broadcast: wrong + sums.differences(array, 0..<count)
            case .reduceScatter:
                wrong + own.differences(array, 0..<chunk.lowerBound) + sums.differences(array, chunk)
                    + own.differences(array, chunk.upperBound..<count)
            case .barrier: wrong
            }
        }
    }

    private var chunk: Range<Int> { ring.chunk(ring.place, of: count) }

    private func perform<Element: RingElement>(_ base: UnsafeMutablePointer<Element>) throws {
        let values = UnsafeMutableBufferPointer(start: base, count: count)
        switch operation {
        case .allReduce: try ring.allReduce(values)
        case .reduceScatter: try ring.reduceScatter(values)
        case .allGather: try ring.allGather(values)
        case .broadcast: try ring.broadcast(values, from: 0)
        case .barrier: try ring.barrier()
        }
    }
}
