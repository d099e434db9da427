import CReductionKernels

/// What an operation does to its elements: their types on the wire, and the loop that combines two of them.
package struct Reduction: Equatable, Sendable {
    /// How the elements look.
    package enum Element: UInt8, Sendable, CaseIterable {
        case float32 = 1
        case float64, int32, int64, bfloat16
        /// float64 carriers in, which are made smaller on the way to the owner where that loses nothing; the sum, rounded once to float32, on the
        /// way back and out.
        case carrier
    }

    package let element: Element
    package let operation: ReduceOperation

    package init(_ element: Element, _ operation: ReduceOperation = .sum) {
        precondition(element != .carrier || operation == .sum, "carriers are summed")
        self.element = element
        self.operation = operation
    }

    /// "float32 sum", for messages.
    var name: String { element == .carrier ? "exact sum" : "\(element) \(operation)" }

    /// Bytes of one element of a partial result: in the source, and in the reduce-scatter half on the wire, where carriers may be smaller.
    package var partialBytes: Int {
        switch element {
        case .bfloat16: 2
        case .float32, .int32: 4
        case .float64, .int64, .carrier: 8
        }
    }

    /// Bytes of one element of the result, and in the all-gather half on the wire.
    package var resultBytes: Int {
        element == .carrier ? 4 : partialBytes
    }

    /// partial = partial op own, elementwise.
    func add(_ own: UnsafeRawPointer, to partial: UnsafeMutableRawPointer, count: Int) {
        // SAFETY: the ring gives `count` elements of `partialBytes` at both, which do not overlap.
        combine(partial, own, into: partial, count: count)
    }

    /// result = partial op own, elementwise; result may be where own is, if the two have the same element type.
    func finish(_ partial: UnsafeRawPointer, _ own: UnsafeRawPointer, into result: UnsafeMutableRawPointer, count: Int) {
        // SAFETY: the ring gives `count` elements at all three, of the sizes above.
        if element == .carrier {
            lockstep_finish_carrier(result, partial, own, count)
        } else {
            combine(partial, own, into: result, count: count)
        }
    }

    /// The whole operation in a world of one.
    func finishAlone(_ own: UnsafeRawPointer, into result: UnsafeMutableRawPointer, count: Int) {
        if element == .carrier {
            lockstep_round_carrier(result, own, count)
        } else if UnsafeRawPointer(result) != own {
            result.copyMemory(from: own, byteCount: count * resultBytes)
        }
    }

    /// result = partial op own for partial results, carriers included; any of the three may be the same memory.
    func combine(
        _ partial: UnsafeRawPointer, _ own: UnsafeRawPointer, into result: UnsafeMutableRawPointer, count: Int
    ) {
        let element = element == .carrier ? Element.float64 : element
        lockstep_combine(
            lockstep_element(UInt32(element.rawValue)), lockstep_operation(UInt32(operation.rawValue)), result, partial, own, count)
    }
}

/// How the elements of all ranks become one.
public enum ReduceOperation: UInt8, Sendable, CaseIterable {
    /// Integers wrap around; floats are added in an order that depends on the number of ranks.
    case sum = 1
    /// NaN where any rank has NaN.
    case max
    case min
}

/// A type whose arrays the ring can reduce.
public protocol RingElement: BitwiseCopyable, Sendable {
    /// For the ring only.
    static var ringElement: RingElementType { get }
}

/// Names a `RingElement` to the ring.
public struct RingElementType: Sendable {
    let element: Reduction.Element
}

extension Float: RingElement { public static var ringElement: RingElementType { .init(element: .float32) } }
extension Double: RingElement { public static var ringElement: RingElementType { .init(element: .float64) } }
extension Int32: RingElement { public static var ringElement: RingElementType { .init(element: .int32) } }
extension Int64: RingElement { public static var ringElement: RingElementType { .init(element: .int64) } }
extension BFloat16: RingElement { public static var ringElement: RingElementType { .init(element: .bfloat16) } }

/// The upper half of a float32: 8 bits of exponent, 8 of significand. Stored and sent, not calculated with.
public struct BFloat16: Sendable, Hashable, BitwiseCopyable {
    public var bitPattern: UInt16

    public init(bitPattern: UInt16) {
        self.bitPattern = bitPattern
    }

    /// Rounds to nearest, ties to even; NaN stays NaN.
    public init(_ value: Float) {
        var result: UInt16 = 0
        withUnsafePointer(to: value) { lockstep_to_bf16(&result, $0, 1) }
        bitPattern = result
    }
}

extension Float {
    /// Exact: every bfloat16 is a float32.
    public init(_ value: BFloat16) {
        self.init(bitPattern: UInt32(value.bitPattern) << 16)
    }
}
