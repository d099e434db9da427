import CTensorKernels

/// How a dropout of some rate is carried out in this pass; nil when it changes nothing.
struct Dropping {
    /// An element is kept when its random word is at least this.
    let threshold: UInt32
    let scale: Float
    let stream: RandomStream

    init?(rate: Float, tape: Tape) {
        precondition(rate >= 0 && rate < 1, "a dropout rate is at least 0 and below 1, not \(rate)")
        guard rate > 0, tape.pass.isTraining else { return nil }
        threshold = UInt32(Double(rate) * 4_294_967_296)
        scale = 1 / (1 - rate)
        stream = tape.nextRandomStream()
    }
}

extension Tensor {
    /// While training, zeroes each element with probability `rate` and scales the others by 1 / (1 - rate); at other
    /// times returns the receiver.
    ///
    /// Which elements is a function of seed, step, micro-batch, the operation's number in the pass and the element's
    /// index. The backward pass draws the same numbers again instead of keeping them.
    ///
    /// Source: N. Srivastava et al., "Dropout", JMLR 15 (2014).
    public func dropout(_ rate: Float) -> Tensor {
        let (tape, count) = (tape, count)
        guard let dropped = Dropping(rate: rate, tape: tape) else { return self }
        let y = tape.result(shape, of: [self])
        tensor_dropout(y.floats, floats, count, dropped.stream.key, 0, dropped.threshold, dropped.scale, false)

        let inputSlot = slot
        tape.record(y) { [unowned tape] dy in
            guard let dx = inputSlot?.destination(on: tape) else { return }
            tensor_dropout(
                dx.values, dy.floats, count, dropped.stream.key, 0, dropped.threshold, dropped.scale, dx.accumulate)
        }
        return y
    }
}
