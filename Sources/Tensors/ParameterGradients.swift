/// The gradients of a tape's parameters in one pass: how many uses are still to run backward, and where each gradient
/// stands.
///
/// They stand in the arena, or, where they are given away, each in a block of its own from the first contribution until
/// it is final: then only those are in memory that a backward pass is at.
struct ParameterGradients {
    private struct Place {
        /// Uses recorded whose backward step has not run; below zero when the gradient is final.
        var pendingUses = 0
        var isWritten = false
        /// nil in the arena, and before and after its time.
        var storage: Storage?
    }

    /// Whether they stay, in the arena.
    var areKept = false
    /// By parameter index.
    private var places: [Place]
    /// Blocks of large gradients that are over: the next large one takes the smallest that it fits in, whatever its
    /// shape is.
    private var spare: [Storage] = []

    /// Bytes from which on a gradient is large: a block of its own for each shape would be felt.
    private static let largeBytes = 1 << 20

    init(count: Int) {
        places = Array(repeating: Place(), count: count)
    }

    /// A pass begins: nothing is recorded, and what was left of the pass before is given back.
    mutating func begin() {
        for index in places.indices { places[index] = Place() }
    }

    /// An operation that uses the parameter was recorded.
    mutating func willUse(_ parameter: Parameter) {
        places[parameter.index].pendingUses += 1
    }

    /// Such an operation has run backward. Whether it was the last.
    mutating func hasUsed(_ parameter: Parameter) -> Bool {
        places[parameter.index].pendingUses -= 1
        return places[parameter.index].pendingUses == 0
    }

    /// Whether no operation used the parameter, and its gradient has not been told.
    func isUnused(_ parameter: Parameter) -> Bool { places[parameter.index].pendingUses == 0 }

    /// Where to write a contribution: overwriting the first time in a pass, adding after that.
    mutating func destination(
        of parameter: Parameter, on tape: Tape
    ) -> (values: UnsafeMutablePointer<Float>, accumulate: Bool) {
        let index = parameter.index
        defer { places[index].isWritten = true }
        if areKept { return (parameter.gradients, places[index].isWritten) }
        let storage = places[index].storage ?? takeBlock(count: parameter.count, on: tape)
        places[index].storage = storage
        return (storage.floats, places[index].isWritten)
    }

    /// A gradient that nothing can change any more, in memory until `release`; zeros where nothing contributed to it.
    mutating func finish(_ parameter: Parameter, on tape: Tape) -> UnsafeMutableBufferPointer<Float> {
        let (values, isWritten) = destination(of: parameter, on: tape)
        if !isWritten { values.update(repeating: 0, count: parameter.count) }
        places[parameter.index].pendingUses = -1
        return UnsafeMutableBufferPointer(start: values, count: parameter.count)
    }

    /// Gives a final gradient's memory back, unless it is kept.
    mutating func release(_ parameter: Parameter) {
        guard let storage = places[parameter.index].storage else { return }
        places[parameter.index].storage = nil
        if storage.classSize >= ParameterGradients.largeBytes { spare.append(storage) }
    }

    private mutating func takeBlock(count: Int, on tape: Tape) -> Storage {
        let bytes = count * MemoryLayout<Float>.stride
        guard bytes >= ParameterGradients.largeBytes else { return tape.allocate(count) }
        let fitting = spare.indices.filter { spare[$0].classSize >= bytes }
        let best = fitting.min { spare[$0].classSize < spare[$1].classSize }
        return best.map { spare.remove(at: $0) } ?? tape.allocate(count)
    }
}
