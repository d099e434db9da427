import TestSupport
import Wire

extension FrameHeader {
    /// Puts an odd value into one of the fields.
    mutating func damage(limit: UInt64, _ generator: inout SeededGenerator) {
        let odd: [UInt64] = [0, 1, 2, 3, 4, 5, 8, 64, 255, 65_535, limit, .max]
        let value = odd.randomElement(using: &generator)!
        switch generator.next() % 6 {
        case 0: operation = value
        case 1: slice = value
        case 2: hop = UInt16(truncatingIfNeeded: value)
        case 3: signature = UInt16(truncatingIfNeeded: value)
        case 4: payloadBytes = UInt32(truncatingIfNeeded: value)
        default: elementCount = value
        }
    }
}
