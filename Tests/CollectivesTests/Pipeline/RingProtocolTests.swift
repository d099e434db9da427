import Collectives
import TestSupport
import Testing
import Wire

/// Memory of one operation at one rank, alive as long as the test.
final class OperationMemory {
    let source: UnsafeMutableRawPointer
    let result: UnsafeMutableRawPointer
    let count: Int
    let reduction: Reduction

    init(_ kind: Reduction.Element, count: Int, inPlace: Bool = false) {
        reduction = Reduction(kind)
        self.count = count
        source = .allocate(byteCount: max(8, count * reduction.partialBytes), alignment: 64)
        result = inPlace ? source : .allocate(byteCount: max(8, count * reduction.resultBytes), alignment: 64)
    }

    deinit {
        if result != source { result.deallocate() }
        source.deallocate()
    }

    var operation: (Reduction, UnsafeRawPointer, UnsafeMutableRawPointer, Int) {
        (reduction, UnsafeRawPointer(source), result, count)
    }

    func fill(_ value: (Int) -> Int) {
        for index in 0..<count {
            switch reduction.element {
            case .float32: source.storeBytes(of: Float(value(index)), toByteOffset: index * 4, as: Float.self)
            default: source.storeBytes(of: Double(value(index)), toByteOffset: index * 8, as: Double.self)
            }
        }
    }

    func sum(_ index: Int) -> Double {
        reduction.resultBytes == 4
            ? Double(result.load(fromByteOffset: index * 4, as: Float.self))
            : result.load(fromByteOffset: index * 8, as: Double.self)
    }
}

@Suite struct RingProtocolTests {
    /// Small integers, whose sums every type holds exactly.
    private func value(rank: Int, operation: Int, index: Int) -> Int {
        (rank + 1) * (index % 97 + 1) + operation
    }

    private func check(worldSize: Int, counts: [Int], kinds: [Reduction.Element], inPlace: Bool, seed: UInt64) throws {
        let ring = SimulatedRing(worldSize: worldSize, seed: seed)
        let memories = (0..<worldSize).map { rank in
            counts.enumerated().map { number, count in
                let kind = kinds[number % kinds.count]
                let memory = OperationMemory(kind, count: count, inPlace: inPlace && kind != .carrier)
                memory.fill { value(rank: rank, operation: number, index: $0) }
                return memory
            }
        }
        var submitted = [Int](repeating: 0, count: worldSize)
        try ring.run { rank in
            let (reduction, source, result, count) = memories[rank][submitted[rank]].operation
            try ring.workers[rank].submit(.init(reduction: reduction, source: source, result: result, count: count))
            submitted[rank] += 1
            return submitted[rank] < counts.count
        }
        for rank in 0..<worldSize {
            try #require(ring.workers[rank].completed == UInt64(counts.count), "rank \(rank) of \(worldSize), seed \(seed)")
            for (number, count) in counts.enumerated() {
                for index in 0..<count {
                    let expected = (0..<worldSize).reduce(0) { $0 + value(rank: $1, operation: number, index: index) }
                    guard memories[rank][number].sum(index) == Double(expected) else {
                        Issue.record("rank \(rank), operation \(number), index \(index): \(memories[rank][number].sum(index)), not \(expected)")
                        return
                    }
                }
            }
        }
    }

    @Test(arguments: 2...9)
    func sumsOfAllLengths(worldSize: Int) throws {
        let counts = [0, 1, worldSize - 1, worldSize, worldSize + 1, 1009, 4096, 0, 4099]
        for seed in 0..<6 {
            try check(
                worldSize: worldSize, counts: counts, kinds: [.float32, .carrier, .float64], inPlace: seed % 2 == 0,
                seed: UInt64(seed))
        }
    }

    /// More slices than the window and more operations than that, so that ranks run ahead of one another.
    @Test(arguments: [2, 3, 4])
    func manySlicesInFlight(worldSize: Int) throws {
        for seed in 0..<3 {
            try check(
                worldSize: worldSize, counts: [200_001, 3, 150_000, 70_001, 1, 1, 1, 1, 1, 1, 65_536, seed == 0 ? 800_017 * worldSize : 1], kinds: [.float32, .carrier],
                inPlace: false, seed: UInt64(100 + seed))
        }
    }

    /// Some of a rank's elements are too wide for the others' 48 bits: from that rank on their segment goes as it is.
    @Test(arguments: 2...5)
    func wideCarriersAmongNarrowOnes(worldSize: Int) throws {
        for seed in 0..<8 {
            let count = 700 * worldSize + 3
            let ring = SimulatedRing(worldSize: worldSize, seed: UInt64(seed))
            func value(_ rank: Int, _ index: Int) -> Int {
                rank == seed % worldSize && index % 900 == 7 ? 1 << 50 + 1 : 3 * index + rank
            }
            let memories = (0..<worldSize).map { rank in
                let memory = OperationMemory(.carrier, count: count)
                memory.fill { value(rank, $0) }
                return memory
            }
            try ring.run { rank in
                let (reduction, source, result, count) = memories[rank].operation
                try ring.workers[rank].submit(.init(reduction: reduction, source: source, result: result, count: count))
                return false
            }
            for (rank, memory) in memories.enumerated() {
                #expect(ring.workers[rank].completed == 1)
                let isRight = (0..<count).allSatisfy { index in
                    memory.sum(index) == Double(Float((0..<worldSize).reduce(0) { $0 + value($1, index) }))
                }
                #expect(isRight, "rank \(rank) of \(worldSize), seed \(seed)")
            }
        }
    }

    /// On the way to the owner an element takes 8 bytes, packed 6, and narrow, as float32, 4.
    @Test(arguments: [(isNarrow: false, packs: false, bytes: 8...8.0), (false, true, 6.0001...6.08), (true, false, 4...4), (true, true, 4...4)])
    func carriersTakeTheFewestBytes(form: (isNarrow: Bool, packs: Bool, bytes: ClosedRange<Double>)) throws {
        let count = 60_000
        let workers = (0..<2).map { _ in SimulatedRing.Worker() }
        for (rank, worker) in workers.enumerated() {
            worker.ring = RingProtocol(rank: rank, worldSize: 2, generation: 1, packs: form.packs, link: worker)
            let memory = OperationMemory(.carrier, count: count)
            memory.fill { form.isNarrow ? $0 : $0 << 26 | 1 }
            try worker.submit(.init(reduction: memory.reduction, source: memory.source, result: memory.result, count: count))
        }
        let bytes = workers[0].outgoing.reduce(0) { $0 + $1.body.count }
        #expect(form.bytes.contains(Double(bytes) / Double(count / 2)), "\(bytes)")
    }

    @Test func differingProgramsAreToldSo() throws {
        let ring = SimulatedRing(worldSize: 3, seed: 1)
        let memories = [100, 100, 101].map { OperationMemory(.float32, count: $0) }
        memories.forEach { $0.fill { _ in 1 } }
        let error = #expect(throws: CollectiveError.self) {
            try ring.run { rank in
                let (reduction, source, result, count) = memories[rank].operation
                try ring.workers[rank].submit(.init(reduction: reduction, source: source, result: result, count: count))
                return false
            }
        }
        guard case .mismatch(_, 0, _, _) = error else {
            Issue.record("expected a mismatch, got \(String(describing: error))")
            return
        }
    }

    /// Random headers at any moment: an error or a place within memory of the ring's or the operation's, never a trap.
    @Test func hostileHeadersAreRefused() throws {
        var generator = SeededGenerator(seed: 3)
        for round in 0..<20_000 {
            let worker = SimulatedRing.Worker()
            worker.ring = RingProtocol(rank: 1, worldSize: 3, generation: 1, packs: true, link: worker)
            let memory = OperationMemory(.float32, count: 1000)
            memory.fill { _ in 1 }
            if round % 2 == 0 {
                let (reduction, source, result, count) = memory.operation
                try worker.submit(.init(reduction: reduction, source: source, result: result, count: count))
            }
            var isAlive = true
            for _ in 0..<20 where isAlive {
                isAlive = deliver(randomHeader(&generator), to: worker.ring)
            }
        }
    }

    private func randomHeader(_ generator: inout SeededGenerator) -> FrameHeader {
        func small() -> UInt64 { UInt64.random(in: 0..<6, using: &generator) }
        let anySlice = UInt64.random(in: 0...(.max), using: &generator)
        return FrameHeader(
            generation: 1, operation: small(), slice: small() == 0 ? anySlice : small(),
            hop: UInt16(small()), signature: UInt16(small()),
            payloadBytes: [0, 4, 1332, 1336, 65536, .max][Int(small())], elementCount: [0, 1000, .max][Int(small() % 3)])
    }

    /// Whether the ring goes on after the frame.
    private func deliver(_ header: FrameHeader, to ring: RingProtocol<SimulatedRing.Worker>) -> Bool {
        guard let landing = try? ring.landing(for: header) else { return false }
        guard case .at(let place) = landing else { return true }
        #expect(place.count == Int(header.payloadBytes))
        place.initializeMemory(as: UInt8.self, repeating: 0)
        return (try? ring.landed()) != nil
    }
}
