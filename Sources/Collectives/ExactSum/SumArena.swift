import Processes

/// Memory for a worker's partial sums of several tensors, each of which holds a sum or nothing: forgetting all of them costs nothing
/// per element.
///
/// Owns the memory, 64-byte aligned. Used by the compute thread.
struct SumArena<Element: BitwiseCopyable & ExpressibleByIntegerLiteral>: ~Copyable {
    let parts: [ExactAccumulator.Part]
    /// All parts, and zeros between them.
    let memory: UnsafeMutablePointer<Element>
    private var holdsSum: [Bool]

    init(count: Int, parts: [ExactAccumulator.Part]) {
        precondition(parts.allSatisfy { $0.offset >= 0 && $0.count >= 0 && $0.offset + $0.count <= count })
        self.parts = parts
        holdsSum = [Bool](repeating: false, count: parts.count)
        // SAFETY: freed in deinit; every element is initialised here, so the padding between parts is zero for good.
        memory = allocateMemory(byteCount: max(count, 1) * MemoryLayout<Element>.stride, alignment: 64, for: "partial sums")
            .bindMemory(to: Element.self, capacity: max(count, 1))
        memory.initialize(repeating: 0, count: count)
    }

    deinit {
        UnsafeMutableRawPointer(memory).deallocate()
    }

    /// Forgets all sums.
    mutating func begin() {
        for index in holdsSum.indices { holdsSum[index] = false }
    }

    /// The memory of a part that is about to get a summand, and whether it holds a sum already.
    mutating func add(part index: Int) -> (memory: UnsafeMutablePointer<Element>, count: Int, holdsSum: Bool) {
        defer { holdsSum[index] = true }
        return (memory + parts[index].offset, parts[index].count, holdsSum[index])
    }

    /// Makes a part that got nothing a sum of zero.
    mutating func settle(part index: Int) {
        let (memory, count, holdsSum) = add(part: index)
        if !holdsSum { memory.update(repeating: 0, count: count) }
    }
}
