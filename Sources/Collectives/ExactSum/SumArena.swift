import Processes

/// Memory for a worker's partial sums of several tensors, each of which holds a sum or nothing, and, with a layout, for
/// the sums of all workers, which take the place of partial sums, range by range in the layout's order. Forgetting all
/// of them costs nothing per element.
///
/// The sums of a range land where no partial sum is needed any more (`SumLayout`). When a ring breaks, those of some of
/// the first ranges are here (`finished`), and beyond them all partial sums are what they were.
///
/// Owns the memory, 64-byte aligned. Used by the compute thread.
struct SumArena<Element: BitwiseCopyable & ExpressibleByIntegerLiteral>: ~Copyable {
    let parts: [ExactAccumulator.Part]
    /// The partial sums: all parts, and zeros between them. Of no use where `finished`.
    let memory: UnsafeMutablePointer<Element>
    /// The sums of all workers where `finished`, laid out alike. Without a layout there are none.
    let results: UnsafeMutablePointer<Float>
    /// The elements below it have their sums at `results`.
    private(set) var finished = 0
    private let layout: SumLayout?
    private let count: Int
    private let block: UnsafeMutableRawPointer
    /// Where the sums of short ranges land.
    private let beside: UnsafeMutablePointer<Float>
    private var holdsSum: [Bool]

    init(count: Int, parts: [ExactAccumulator.Part], layout: SumLayout? = nil) {
        precondition(parts.allSatisfy { $0.offset >= 0 && $0.count >= 0 && $0.offset + $0.count <= count })
        precondition(zip(parts, parts.dropFirst()).allSatisfy { $0.offset + $0.count <= $1.offset })
        self.parts = parts
        self.layout = layout
        self.count = count
        holdsSum = [Bool](repeating: false, count: parts.count)
        let lead = layout?.leadBytes ?? 0
        let byteCount = lead + max(count, 1) * MemoryLayout<Element>.stride
        // SAFETY: freed in deinit. Partial sums begin `lead` bytes into the block, a multiple of 64, and results at its
        // beginning; they end within it, as an element of theirs is no longer than a partial sum. Every partial sum is
        // initialised here.
        block = allocateMemory(byteCount: byteCount, alignment: 64, for: "partial sums")
        memory = (block + lead).bindMemory(to: Element.self, capacity: max(count, 1))
        memory.initialize(repeating: 0, count: count)
        results = block.assumingMemoryBound(to: Float.self)
        beside = .allocate(capacity: max(layout?.besideCount ?? 0, 1))
    }

    deinit {
        block.deallocate()
        beside.deallocate()
    }

    /// Forgets all sums.
    mutating func begin() {
        for index in holdsSum.indices { holdsSum[index] = false }
        finished = 0
    }

    /// The memory of a part that is about to get a summand, but for what is finished of it: how many elements that are,
    /// how many follow, and whether these hold a sum already.
    mutating func add(
        part index: Int
    ) -> (memory: UnsafeMutablePointer<Element>, finished: Int, count: Int, holdsSum: Bool) {
        let part = parts[index]
        let holdsBefore = holdsSum[index]
        if !holdsBefore { clearGap(after: index) }
        holdsSum[index] = true
        let done = min(max(finished - part.offset, 0), part.count)
        return (memory + part.offset + done, done, part.count - done, holdsBefore)
    }

    /// Makes a part that got nothing a sum of zero.
    mutating func settle(part index: Int) {
        let (memory, _, count, holdsSum) = add(part: index)
        if !holdsSum { memory.update(repeating: 0, count: count) }
    }

    /// Sums of the step before may stand in the gap.
    private func clearGap(after index: Int) {
        let end = index + 1 < parts.count ? parts[index + 1].offset : count
        let start = max(parts[index].offset + parts[index].count, finished)
        if start < end { (memory + start).update(repeating: 0, count: end - start) }
    }

    /// Where the ring is to write the sums of the layout's range of that number. It may once it has begun with all
    /// ranges before it, in their order.
    func landing(ofRange number: Int) -> UnsafeMutablePointer<Float> {
        guard let layout else { preconditionFailure("sums have no place without a layout") }
        return layout.beside[number].map { beside + $0 } ?? results + layout.ranges[number].lowerBound
    }

    /// The sums of the range of that number have landed on this worker, as those of all ranges before it have.
    mutating func finish(range number: Int) {
        guard let layout else { preconditionFailure("sums have no place without a layout") }
        let range = layout.ranges[number]
        if let place = layout.beside[number] {
            (results + range.lowerBound).update(from: beside + place, count: range.count)
        }
        finished = range.upperBound
    }

    /// The sums of the range of that number, the first that is not finished, were written in their place.
    mutating func take(range number: Int) {
        finished = max(finished, layout?.ranges[number].upperBound ?? 0)
    }
}
