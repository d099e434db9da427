import CTensorKernels

extension Tensor {
    /// Elementwise sum of two tensors of one shape.
    public static func + (a: Tensor, b: Tensor) -> Tensor {
        precondition(a.shape == b.shape, "\(a.shape) and \(b.shape) differ")
        let tape = a.tape
        let y = tape.result(a.shape, of: [a, b])
        tensor_add(y.floats, a.floats, b.floats, y.count)
        let (aSlot, bSlot) = (a.slot, b.slot)
        tape.record(y) { [unowned tape] dy in
            aSlot?.add(dy, on: tape)
            bSlot?.add(dy, on: tape)
        }
        return y
    }

    /// Elementwise difference of two tensors of one shape.
    public static func - (a: Tensor, b: Tensor) -> Tensor {
        precondition(a.shape == b.shape, "\(a.shape) and \(b.shape) differ")
        let (tape, count) = (a.tape, a.count)
        let y = tape.result(a.shape, of: [a, b])
        tensor_subtract(y.floats, a.floats, b.floats, count)
        let (aSlot, bSlot) = (a.slot, b.slot)
        tape.record(y) { [unowned tape] dy in
            aSlot?.add(dy, on: tape)
            if let db = bSlot?.destination(on: tape) { tensor_scale(db.values, dy.floats, -1, count, db.accumulate) }
        }
        return y
    }

    /// Elementwise product of two tensors of one shape.
    public static func * (a: Tensor, b: Tensor) -> Tensor {
        precondition(a.shape == b.shape, "\(a.shape) and \(b.shape) differ")
        let (tape, count) = (a.tape, a.count)
        let y = tape.result(a.shape, of: [a, b])
        tensor_multiply(y.floats, a.floats, b.floats, count, false)
        let (aStorage, bStorage, aSlot, bSlot) = (a.storage, b.storage, a.slot, b.slot)
        tape.record(y) { [unowned tape] dy in
            if let da = aSlot?.destination(on: tape) {
                tensor_multiply(da.values, dy.floats, bStorage.floats, count, da.accumulate)
            }
            if let db = bSlot?.destination(on: tape) {
                tensor_multiply(db.values, dy.floats, aStorage.floats, count, db.accumulate)
            }
        }
        return y
    }

    /// Every element times a number.
    public static func * (a: Tensor, factor: Float) -> Tensor {
        let (tape, count) = (a.tape, a.count)
        let y = tape.result(a.shape, of: [a])
        tensor_scale(y.floats, a.floats, factor, count, false)
        let slot = a.slot
        tape.record(y) { [unowned tape] dy in
            guard let da = slot?.destination(on: tape) else { return }
            tensor_scale(da.values, dy.floats, factor, count, da.accumulate)
        }
        return y
    }

    public static func * (factor: Float, a: Tensor) -> Tensor { a * factor }

    public static prefix func - (a: Tensor) -> Tensor { a * -1 }

    /// Every element plus a number.
    public static func + (a: Tensor, number: Float) -> Tensor {
        let (tape, count) = (a.tape, a.count)
        let y = tape.result(a.shape, of: [a])
        y.floats.update(from: a.floats, count: count)
        tensor_fill(y.floats, number, count, true)
        let slot = a.slot
        tape.record(y) { [unowned tape] dy in slot?.add(dy, on: tape) }
        return y
    }

    /// A bias added to every row: y[..., c] = x[..., c] + bias[c].
    public func adding(row bias: Parameter) -> Tensor {
        let (tape, rows, columns) = (tape, rows, columns)
        precondition(bias.shape == [columns], "a row of shape \(bias.shape) does not fit \(shape)")
        let y = tape.result(shape, of: [self], parameters: [bias])
        tensor_add_row(y.floats, floats, bias.values, rows, columns)
        let slot = slot
        tape.record(y, parameters: [bias]) { [unowned tape] dy in
            let db = tape.gradientDestination(of: bias)
            tensor_sum_rows(db.values, dy.floats, rows, columns, db.accumulate)
            slot?.add(dy, on: tape)
        }
        return y
    }

    /// The sum of all elements, taken in double precision and rounded once.
    public func sum() -> Tensor {
        let (tape, count) = (tape, count)
        let y = tape.result([], of: [self])
        y.floats[0] = Float(tensor_sum(floats, count))
        let slot = slot
        tape.record(y) { [unowned tape] dy in
            guard let dx = slot?.destination(on: tape) else { return }
            tensor_fill(dx.values, dy.floats[0], count, dx.accumulate)
        }
        return y
    }

    /// The mean of all elements.
    public func mean() -> Tensor { sum() * (1 / Float(count)) }
}
