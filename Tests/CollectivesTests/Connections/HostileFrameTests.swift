import Collectives
import TestSupport
import Testing
import Wire

/// A neighbour that runs the same program but damages what it sends, in the middle of operations of all kinds.
@Suite struct HostileFrameTests {
    private struct Program {
        let memories: [OperationMemory]
        let patterns: [RingPlan.Pattern]

        func submit(to ring: SimulatedRing.Worker, _ range: Range<Int>) throws {
            for number in range {
                let (reduction, source, result, count) = memories[number].operation
                try ring.submit(
                    .init(reduction: reduction, source: source, result: result, count: count, pattern: patterns[number]))
            }
        }
    }

    private func program(worldSize: Int, _ generator: inout SeededGenerator) -> Program {
        let shapes = (0..<3).map { _ in
            (kind: [Reduction.Element.float32, .float64, .carrier].randomElement(using: &generator)!,
             count: [0, 1, worldSize, 1000, 40_000].randomElement(using: &generator)!,
             pattern: [RingPlan.Pattern.allReduce, .allReduce, .reduceScatter(), .reduceScatter(copies: 1), .allGather(), .broadcast(root: 0)].randomElement(using: &generator)!)
        }
        return Program(
            memories: shapes.map { shape in
                let memory = OperationMemory(shape.pattern == .allReduce ? shape.kind : .float32, count: shape.count)
                memory.fill { _ in 1 }
                return memory
            },
            patterns: shapes.map(\.pattern))
    }

    /// Whether the ring goes on after the frame.
    private func deliver(_ header: FrameHeader, to ring: RingProtocol<SimulatedRing.Worker>) throws -> Bool {
        guard case .at(let place) = try ring.landing(for: header) else { return false }
        // A place of another size than announced would be written beyond its end.
        try #require(place.count == Int(header.payloadBytes))
        place.initializeMemory(as: UInt8.self, repeating: 0)
        try ring.landed()
        return true
    }

    @Test func damagedFramesAreRefused() throws {
        var generator = SeededGenerator(seed: 31)
        var taken = 0
        var refused = 0
        for _ in 0..<6000 {
            let worldSize = Int.random(in: 2...4, using: &generator)
            let program = program(worldSize: worldSize, &generator)
            let left = SimulatedRing.Worker()
            left.ring = RingProtocol(rank: 0, worldSize: worldSize, generation: 1, packs: true, link: left)
            try program.submit(to: left, 0..<3)
            let target = SimulatedRing.Worker()
            target.ring = RingProtocol(rank: 1, worldSize: worldSize, generation: 1, packs: true, link: target)
            // This rank's program may be behind: what comes early is judged when it gets there.
            let early = Int.random(in: 0...3, using: &generator)
            do {
                try program.submit(to: target, 0..<early)
                for frame in left.outgoing {
                    var header = frame.header
                    if generator.next() % 3 == 0 { header.damage(limit: 1 << 31, &generator) }
                    guard try deliver(header, to: target.ring) else { break }
                    taken += 1
                }
                try program.submit(to: target, early..<3)
            } catch let error as CollectiveError {
                refused += 1
                switch error {
                case .protocolViolation(rank: 0, _), .mismatch(rank: 0, _, _, _): break
                default: Issue.record("\(error)")
                }
            }
        }
        #expect(taken > 5000 && refused > 1000, "\(taken) taken, \(refused) refused")
    }
}
