import CReductionKernels

/// What an operation does to its elements: the types on the wire and the loops that add.
package struct Reduction: Equatable, Sendable {
    /// How the elements of the two halves look.
    package enum Kind: UInt8, Sendable {
        /// float32 in, float32 on the wire, float32 out: the usual ring, whose sum depends on the order.
        case float32 = 1
        /// float64 throughout: for counters and for values of which all but one rank contribute zero.
        case float64 = 2
        /// float64 carriers in and on the way to the owner; the sum, rounded once to float32, on the way back and out.
        case carrier = 3
    }

    package let kind: Kind

    package init(_ kind: Kind) {
        self.kind = kind
    }

    /// Bytes of one element of a partial sum: in the source, and in the reduce-scatter half on the wire.
    package var partialBytes: Int {
        switch kind {
        case .float32: 4
        case .float64, .carrier: 8
        }
    }

    /// Bytes of one element of the sum: in the result, and in the all-gather half on the wire.
    package var resultBytes: Int {
        switch kind {
        case .float32, .carrier: 4
        case .float64: 8
        }
    }

    /// partial += own, elementwise.
    func add(_ own: UnsafeRawPointer, to partial: UnsafeMutableRawPointer, count: Int) {
        // SAFETY: the ring gives `count` elements of `partialBytes` at both, which do not overlap.
        switch kind {
        case .float32: lockstep_add_f32(partial, own, count)
        case .float64, .carrier: lockstep_add_f64(partial, own, count)
        }
    }

    /// result = partial + own, elementwise; result may be where own is, if the two have the same element type.
    func finish(_ partial: UnsafeRawPointer, _ own: UnsafeRawPointer, into result: UnsafeMutableRawPointer, count: Int) {
        // SAFETY: the ring gives `count` elements at all three, of the sizes above.
        switch kind {
        case .float32: lockstep_finish_f32(result, partial, own, count)
        case .float64: lockstep_finish_f64(result, partial, own, count)
        case .carrier: lockstep_finish_carrier(result, partial, own, count)
        }
    }

    /// The whole operation in a world of one.
    func finishAlone(_ own: UnsafeRawPointer, into result: UnsafeMutableRawPointer, count: Int) {
        switch kind {
        case .float32, .float64:
            if UnsafeRawPointer(result) != own { result.copyMemory(from: own, byteCount: count * resultBytes) }
        case .carrier: lockstep_round_carrier(result, own, count)
        }
    }
}
