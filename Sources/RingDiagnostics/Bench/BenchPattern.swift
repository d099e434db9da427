import Collectives
import Glibc

/// What a measurement's arrays hold: a table of elements that repeats, so that filling and comparing are copies of it.
///
/// Values are whole numbers from 0, different for different ranks and, within the period, for different indices, and so small
/// that a sum over all ranks is exact in the element's type. The period is a prime: no chunk or segment is a multiple of it, and what
/// lands in a wrong place is wrong.
package struct BenchPattern {
    package enum Element {
        case float32
        case float64
        case bfloat16

        package var bytes: Int {
            switch self {
            case .float32: 4
            case .float64: 8
            case .bfloat16: 2
            }
        }
    }

    package static let period = 1021

    private let table: [UInt8]
    private let elementBytes: Int

    /// One rank's values. Those in float64 are like sums of many micro-batches: no float32 holds them. What each has more than a whole number is
    /// nothing in the sum over all ranks.
    package init(_ element: Element, rank: Int, worldSize: Int, limit: Element) {
        let more = element == .float64 ? Double(rank == 0 ? worldSize - 1 : -1) * 0x1p-20 : 0
        self.init(element) { Double(BenchPattern.value(rank: rank, index: $0, worldSize: worldSize, element: limit)) + more }
    }

    /// The sums over all ranks.
    package init(sumOf element: Element, worldSize: Int) {
        self.init(element) { index in
            let sum = (0..<worldSize).reduce(0) {
                $0 + BenchPattern.value(rank: $1, index: index, worldSize: worldSize, element: element)
            }
            return Double(sum)
        }
    }

    private init(_ element: Element, value: (Int) -> Double) {
        elementBytes = element.bytes
        var table = [UInt8](repeating: 0, count: BenchPattern.period * element.bytes)
        table.withUnsafeMutableBytes { bytes in
            for index in 0..<BenchPattern.period {
                let offset = index * element.bytes
                switch element {
                case .float32: bytes.storeBytes(of: Float(value(index)), toByteOffset: offset, as: Float.self)
                case .float64: bytes.storeBytes(of: value(index), toByteOffset: offset, as: Double.self)
                case .bfloat16: bytes.storeBytes(of: BFloat16(Float(value(index))), toByteOffset: offset, as: BFloat16.self)
                }
            }
        }
        self.table = table
    }

    /// bfloat16 holds whole numbers up to 256, float32 up to 2^24.
    private static func value(rank: Int, index: Int, worldSize: Int, element: Element) -> Int {
        let most = max(1, (element == .bfloat16 ? 256 : 1 << 20) / worldSize)
        let mixed = (UInt64(index) &* 0x9E37_79B9_7F4A_7C15) ^ (UInt64(rank) &* 0xD1B5_4A32_D192_ED03)
        return Int((mixed &* 0xBF58_476D_1CE4_E5B9) >> 33) % (most + 1)
    }

    /// Writes the pattern to the elements of a range of the array at `memory`.
    package func fill(_ memory: UnsafeMutableRawPointer, _ range: Range<Int>) {
        table.withUnsafeBytes { table in
            forPieces(of: range) { piece, start in
                // SAFETY: a piece lies within the range, which the caller owns, and within one period.
                (memory + piece.lowerBound * elementBytes).copyMemory(
                    from: table.baseAddress! + start * elementBytes, byteCount: piece.count * elementBytes)
            }
        }
    }

    /// How many elements of the range are not the pattern's, bit by bit.
    package func differences(_ memory: UnsafeRawPointer, _ range: Range<Int>) -> Int {
        var count = 0
        table.withUnsafeBytes { table in
            forPieces(of: range) { piece, start in
                // SAFETY: as in `fill`.
                let got = memory + piece.lowerBound * elementBytes
                let expected = table.baseAddress! + start * elementBytes
                guard memcmp(got, expected, piece.count * elementBytes) != 0 else { return }
                for index in 0..<piece.count
                where memcmp(got + index * elementBytes, expected + index * elementBytes, elementBytes) != 0 { count += 1 }
            }
        }
        return count
    }

    /// Cuts a range where the period begins again; tells each piece and its place in the period.
    private func forPieces(of range: Range<Int>, _ body: (Range<Int>, Int) -> Void) {
        var start = range.lowerBound
        while start < range.upperBound {
            let place = start % BenchPattern.period
            let end = min(range.upperBound, start + BenchPattern.period - place)
            body(start..<end, place)
            start = end
        }
    }
}
