import CReductionKernels

/// The power-of-two grid on which one tensor's gradients are summed exactly.
///
/// Each element g of each of at most `parts` partial gradients is rounded once to a multiple of the quantum q before it is
/// added to anything. With C = max(1, ceil(log2 parts)):
///
///     q = 2^(limitExponent - 52 + C)       but never below 2^-149, the last place of the smallest float32
///
/// An element fits where |g| <= 2^limitExponent, hence |g| / q <= 2^(52 - C). The sum of `parts` such multiples is a
/// multiple of q of at most 2^52 q, and every such number is a float64: no addition rounds, so neither order nor grouping
/// can change the sum. Against the true sum of the g it is off by at most
///
///     parts * q / 2  <=  2^(limitExponent + 2 C - 53)
///
/// and by nothing where q is 2^-149. Rounding uses the addition of 1.5 * 2^52 * q, whose own last place is q: the sum rounds
/// to the grid, to nearest and ties to even, and subtracting the constant again is exact.
public struct Grid: Equatable, Sendable {
    /// Elements of a magnitude up to 2^limitExponent fit. In -149...128; at 128 every finite float32 does.
    public let limitExponent: Int
    /// How many partial gradients may be summed.
    public let parts: Int

    public static let exponents = -149...128

    /// Exponents outside `Grid.exponents` are brought to the nearest end: coarser never loses an element, and nothing is finer than
    /// float32's own last place.
    public init(limitExponent: Int, parts: Int) {
        precondition(parts >= 1 && parts <= 1 << 24, "a sum of \(parts) parts leaves too few bits for each")
        self.limitExponent = min(max(limitExponent, Grid.exponents.lowerBound), Grid.exponents.upperBound)
        self.parts = parts
    }

    /// The quantum's power of two.
    public var quantumExponent: Int {
        max(limitExponent - 52 + carryBits, -149)
    }

    /// What a sum of `parts` elements can be off the true sum, before its one rounding to float32.
    public var errorBound: Double {
        quantumExponent == -149 ? 0 : Double(parts) * Double(sign: .plus, exponent: quantumExponent - 1, significand: 1)
    }

    /// Whether an element of the magnitude with these float bits fits; infinity and NaN never do.
    package func fits(magnitudeBits: UInt32) -> Bool {
        magnitudeBits <= limitBits && magnitudeBits < LOCKSTEP_INFINITY_BITS
    }

    /// The constant that rounds to the grid; see the type's description.
    package var magic: Double {
        Double(sign: .plus, exponent: 52 + quantumExponent, significand: 1.5)
    }

    private var carryBits: Int {
        max(1, parts.ceilingLogarithm)
    }

    private var limitBits: UInt32 {
        limitExponent > 127
            ? UInt32(LOCKSTEP_INFINITY_BITS) - 1
            : Float(sign: .plus, exponent: limitExponent, significand: 1).bitPattern
    }
}

extension Grid {
    /// The finest grid on which values of up to this magnitude fit; the coarsest where it is not finite.
    package init(containing magnitudeBits: UInt32, parts: Int) {
        let exponent = magnitudeBits >= LOCKSTEP_INFINITY_BITS ? Grid.exponents.upperBound : Grid.exponent(above: magnitudeBits)
        self.init(limitExponent: exponent ?? Grid.exponents.lowerBound, parts: parts)
    }

    /// How far above the largest reduced gradient of the step before the limit is set: room for a step that is 64 times as steep.
    static let headroomBits = 6
    /// What a limit is raised by when an element did not fit.
    static let raiseBits = 16

    /// The grid for a first step, from the largest magnitude of one micro-batch's gradient.
    ///
    /// A gradient of zero tells nothing; it is taken for one of 1, and a later misfit or smaller maximum moves the limit.
    package static func first(largestMagnitudeBits bits: UInt32, parts: Int) -> Grid {
        Grid(limitExponent: (exponent(above: bits) ?? 0) + headroomBits + parts.ceilingLogarithm, parts: parts)
    }

    /// The grid for the step after one that committed, from the largest magnitude of the reduced gradient, which every rank has.
    ///
    /// The limit rises at once and falls by one a step, so that a gradient that comes and goes does not make steps be redone.
    package func next(largestMagnitudeBits bits: UInt32) -> Grid {
        guard let wanted = Grid.exponent(above: bits) else { return self }
        return Grid(limitExponent: max(wanted + Grid.headroomBits, limitExponent - 1), parts: parts)
    }

    /// The grid on which a step is redone because an element of this tensor did not fit.
    package func raised() -> Grid {
        Grid(limitExponent: limitExponent + Grid.raiseBits, parts: parts)
    }

    /// The smallest e with magnitude <= 2^e; nil for zero and for what is not finite.
    private static func exponent(above bits: UInt32) -> Int? {
        let magnitude = Float(bitPattern: bits)
        guard magnitude > 0, magnitude.isFinite else { return nil }
        let exponent = Int(magnitude.exponent)
        return magnitude.significand == 1 ? exponent : exponent + 1
    }
}

extension Int {
    /// ceil(log2(self)) for self >= 1.
    var ceilingLogarithm: Int {
        self <= 1 ? 0 : Int.bitWidth - (self - 1).leadingZeroBitCount
    }
}
