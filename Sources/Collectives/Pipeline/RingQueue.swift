/// The ring's operations under way, in their order, and how far their slices have come.
///
/// The ring counts its operations and slices for itself; `sequence` is an operation's number in the program.
struct RingQueue {
    struct Entry {
        var operation: CollectiveOperation
        var plan: RingPlan
        var sequence: UInt64
        var firstSlice: UInt64
        var slicesLeft: Int

        /// What a rank receives at a hop of a slice.
        func segment(receivedAt hop: Int, slice: UInt64) -> Range<Int> {
            plan.segment(chunk: plan.chunkReceived(hop: hop), slice: Int(slice - firstSlice))
        }

        /// What a rank sends at a hop of a slice.
        func segment(sentAt hop: Int, slice: UInt64) -> Range<Int> {
            plan.segment(chunk: plan.chunkSent(hop: hop), slice: Int(slice - firstSlice))
        }
    }

    /// Slices of the operations submitted, and those of them that have started.
    private(set) var slicesSubmitted: UInt64 = 0
    private(set) var slicesStarted: UInt64 = 0
    private var submitted: UInt64 = 0
    private var completed: UInt64 = 0
    /// The operation of the slice that starts next.
    private var toStart: UInt64 = 0
    /// A circle of the operations `completed ..< submitted`.
    private var entries: [Entry?] = Array(repeating: nil, count: CollectiveOperation.mostUnderWay)

    var isBusy: Bool { completed < submitted }
    var hasSlicesToStart: Bool { slicesStarted < slicesSubmitted }

    mutating func append(_ operation: CollectiveOperation, _ plan: RingPlan, sequence: UInt64) {
        precondition(submitted - completed < UInt64(entries.count), "more than \(entries.count) operations under way")
        entries[position(submitted)] = Entry(
            operation: operation, plan: plan, sequence: sequence, firstSlice: slicesSubmitted, slicesLeft: plan.sliceCount)
        submitted += 1
        slicesSubmitted += UInt64(plan.sliceCount)
    }

    /// The operation at a position.
    subscript(_ position: Int) -> Entry {
        guard let entry = entries[position] else { preconditionFailure("no operation under way at \(position)") }
        return entry
    }

    /// Starts the next slice; says where its operation is.
    mutating func startSlice() -> (slice: UInt64, position: Int) {
        while slicesStarted >= self[position(toStart)].firstSlice + UInt64(self[position(toStart)].plan.sliceCount) { toStart += 1 }
        defer { slicesStarted += 1 }
        return (slicesStarted, position(toStart))
    }

    /// A slice of the operation at a position has ended.
    mutating func endSlice(at position: Int) {
        entries[position]!.slicesLeft -= 1
    }

    /// Takes the first operation away if it has ended; its number in the program.
    mutating func takeEnded() -> UInt64? {
        guard isBusy, self[position(completed)].slicesLeft == 0 else { return nil }
        let sequence = self[position(completed)].sequence
        entries[position(completed)] = nil
        completed += 1
        toStart = max(toStart, completed)
        return sequence
    }

    private func position(_ number: UInt64) -> Int { Int(number % UInt64(entries.count)) }
}
