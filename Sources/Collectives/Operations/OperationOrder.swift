/// The operations under way in the order of the program, whichever way each takes. They may end in another order; the program is told
/// in its own.
struct OperationOrder {
    /// Operations submitted, and those that have ended together with all before them.
    private(set) var submitted: UInt64 = 0
    private(set) var completed: UInt64 = 0
    /// A circle of the operations `completed ..< submitted`: whether each has ended.
    private var hasEnded = [Bool](repeating: false, count: CollectiveOperation.mostUnderWay)

    var isBusy: Bool { completed < submitted }

    /// Gives the next operation its number.
    mutating func submit() -> UInt64 {
        precondition(submitted - completed < UInt64(hasEnded.count), "more than \(hasEnded.count) operations under way")
        hasEnded[position(submitted)] = false
        submitted += 1
        return submitted - 1
    }

    /// An operation has ended. Whether `completed` has grown by it.
    mutating func end(_ sequence: UInt64) -> Bool {
        precondition((completed..<submitted).contains(sequence) && !hasEnded[position(sequence)])
        hasEnded[position(sequence)] = true
        let before = completed
        while completed < submitted, hasEnded[position(completed)] { completed += 1 }
        return completed > before
    }

    private func position(_ sequence: UInt64) -> Int { Int(sequence % UInt64(hasEnded.count)) }
}
