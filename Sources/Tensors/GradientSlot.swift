import CTensorKernels

/// Where the gradient of one tensor is collected during the backward pass. Kept apart from the tensor, so that
/// a tensor's values can be given back as soon as no backward step needs them.
final class GradientSlot {
    let count: Int
    private var storage: Storage?

    init(count: Int) { self.count = count }

    /// Takes the finished gradient out; nil when nothing contributed to it.
    func take() -> Storage? {
        defer { storage = nil }
        return storage
    }

    /// Memory to write a contribution to: with `accumulate` false it is undefined and to be overwritten, with true to
    /// be added to. Memory that is shared with another gradient is copied first.
    func destination(on tape: Tape) -> (values: UnsafeMutablePointer<Float>, accumulate: Bool) {
        guard storage != nil else {
            let fresh = tape.allocate(count)
            storage = fresh
            return (fresh.floats, false)
        }
        if !isKnownUniquelyReferenced(&storage) {
            let copy = tape.allocate(count)
            copy.floats.update(from: storage!.floats, count: count)
            storage = copy
        }
        return (storage!.floats, true)
    }

    /// Adds a whole gradient of the same count. The first one is taken as it is, shared and not copied.
    func add(_ contribution: Storage, on tape: Tape) {
        if storage == nil {
            storage = contribution
        } else {
            let (values, _) = destination(on: tape)
            tensor_add(values, values, contribution.floats, count)
        }
    }
}
