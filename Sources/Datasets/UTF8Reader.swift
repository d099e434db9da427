/// Turns bytes, one at a time, into Unicode scalars, and refuses everything that is not well-formed UTF-8.
///
/// Source: The Unicode Standard, table 3-7, "Well-Formed UTF-8 Byte Sequences".
struct UTF8Reader {
    enum Event {
        /// The byte completed a scalar.
        case scalar(Unicode.Scalar)
        /// The scalar goes on with the next byte.
        case incomplete
        /// The byte cannot stand here.
        case invalid
    }

    private var value: UInt32 = 0
    private var missing = 0
    /// What the next byte may be: after some leading bytes a part of the continuation bytes would spell a surrogate, an
    /// overlong form or a number beyond the last scalar.
    private var allowed: ClosedRange<UInt8> = 0x80...0xBF

    /// Whether a scalar has been begun and not completed.
    var isIncomplete: Bool { missing > 0 }

    mutating func read(_ byte: UInt8) -> Event {
        if missing == 0 { return begin(byte) }
        guard allowed.contains(byte) else { return .invalid }
        allowed = 0x80...0xBF
        value = value << 6 | UInt32(byte & 0x3F)
        missing -= 1
        guard missing == 0 else { return .incomplete }
        return Unicode.Scalar(value).map(Event.scalar) ?? .invalid
    }

    private mutating func begin(_ byte: UInt8) -> Event {
        switch byte {
        case 0x00...0x7F: return .scalar(Unicode.Scalar(byte))
        case 0xC2...0xDF: (value, missing) = (UInt32(byte & 0x1F), 1)
        case 0xE0...0xEF: (value, missing) = (UInt32(byte & 0x0F), 2)
        case 0xF0...0xF4: (value, missing) = (UInt32(byte & 0x07), 3)
        default: return .invalid
        }
        switch byte {
        case 0xE0: allowed = 0xA0...0xBF
        case 0xED: allowed = 0x80...0x9F
        case 0xF0: allowed = 0x90...0xBF
        case 0xF4: allowed = 0x80...0x8F
        default: allowed = 0x80...0xBF
        }
        return .incomplete
    }
}
