import Collectives
import Glibc

/// Counts what one rank compares, and puts all ranks' counts together.
package struct RingCheckTally {
    private let rank: Int
    private let worldSize: Int
    private var operations = 0
    private var elements = 0
    private var wrong = 0
    private var first: (length: Int, index: Int, got: Double, expected: Double)?

    package init(rank: Int, worldSize: Int) {
        self.rank = rank
        self.worldSize = worldSize
    }

    /// Takes one operation's result.
    package mutating func compare<Element: Equatable>(
        _ got: UnsafeMutableBufferPointer<Element>, with number: (Element) -> Double, expected: (Int) -> Element
    ) {
        operations += 1
        elements += got.count
        for index in got.indices {
            let expected = expected(index)
            guard got[index] != expected else { continue }
            wrong += 1
            if first == nil { first = (got.count, index, number(got[index]), number(expected)) }
        }
    }

    /// Each rank's figures travel in places of their own.
    package func outcome(_ operation: String, type: String, reduction: String, on ring: Ring) throws -> RingCheck.Outcome {
        let own: [Double] = [
            Double(elements), Double(wrong), Double(first?.length ?? 0), Double(first?.index ?? 0), first?.got ?? 0,
            first?.expected ?? 0,
        ]
        let width = own.count
        var places = [Double](repeating: 0, count: worldSize * width)
        places.replaceSubrange((rank * width)..<((rank + 1) * width), with: own)
        try places.withUnsafeMutableBufferPointer { try ring.allGather($0) }
        func total(_ place: Int) -> Int { (0..<worldSize).reduce(0) { $0 + Int(places[$1 * width + place]) } }
        let faulty = (0..<worldSize).first { places[$0 * width + 1] > 0 }
        return RingCheck.Outcome(
            operation: operation, type: type, reduction: reduction, operations: operations, elements: total(0), wrong: total(1),
            firstWrong: faulty.map { rank in
                RingCheck.Wrong(
                    rank: rank, length: Int(places[rank * width + 2]), index: Int(places[rank * width + 3]),
                    got: places[rank * width + 4], expected: places[rank * width + 5])
            })
    }
}

/// Random pauses of a rank's own, the same for the same seed.
struct RingCheckDelays {
    private var state: UInt64
    private static let longestMicroseconds: UInt64 = 300

    init(seed: UInt64, rank: Int) {
        state = seed &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(rank) &* 0xD1B5_4A32_D192_ED03
    }

    mutating func wait() {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        usleep(UInt32((state >> 33) % RingCheckDelays.longestMicroseconds))
    }
}
