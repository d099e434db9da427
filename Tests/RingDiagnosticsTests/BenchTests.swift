import Collectives
import CRawRing
import Glibc
import RingDiagnostics
import Testing
import TestSupport

@Suite(.serialized) struct BenchTests {
    @Test func busFactorsAreThoseOfARing() {
        #expect(BenchOperation.allReduce.busFactor(worldSize: 2) == 1)
        #expect(BenchOperation.allReduce.busFactor(worldSize: 4) == 1.5)
        #expect(BenchOperation.reduceScatter.busFactor(worldSize: 4) == 0.75)
        #expect(BenchOperation.allGather.busFactor(worldSize: 4) == 0.75)
        #expect(BenchOperation.broadcast.busFactor(worldSize: 4) == 1)
        #expect(BenchOperation.barrier.busFactor(worldSize: 4) == 0)
    }

    @Test func timesAreOrdered() {
        let times = BenchTimes(rounds: (1...20).reversed().map(Double.init), operations: (1...200).reversed().map(Double.init))
        #expect(times.least == 1 && times.median == 11 && times.percentile99 == 199)
        let one = BenchTimes(rounds: [5], operations: [5])
        #expect(one.least == 5 && one.median == 5 && one.percentile99 == 5)
    }

    @Test(arguments: [BenchPattern.Element.float32, .float64, .bfloat16])
    func aSingleWrongElementIsFound(element: BenchPattern.Element) {
        let count = 3 * BenchPattern.period + 7
        let memory = UnsafeMutableRawPointer.allocate(byteCount: count * element.bytes, alignment: 64)
        defer { memory.deallocate() }
        let pattern = BenchPattern(element, rank: 1, worldSize: 4, limit: element)
        pattern.fill(memory, 0..<count)
        #expect(pattern.differences(memory, 0..<count) == 0)
        for index in [0, 1, BenchPattern.period - 1, BenchPattern.period, count - 1] {
            let place = memory + index * element.bytes + element.bytes - 1
            let byte = place.load(as: UInt8.self)
            place.storeBytes(of: byte ^ 1, as: UInt8.self)
            #expect(pattern.differences(memory, 0..<count) == 1)
            #expect(pattern.differences(memory, index..<count) == 1)
            #expect(pattern.differences(memory, 0..<index) == 0)
            place.storeBytes(of: byte, as: UInt8.self)
        }
        // Another rank's values, and the same moved by a segment, are other values.
        let other = BenchPattern(element, rank: 2, worldSize: 4, limit: element)
        #expect(other.differences(memory, 0..<count) > count / 2)
        memory.copyMemory(from: memory + 1024 * element.bytes, byteCount: 1024 * element.bytes)
        #expect(pattern.differences(memory, 0..<1024) > 512)
    }

    /// All operations and reductions, beside sockets that do the same, with no element wrong on either.
    @Test(arguments: [2, 3, 4])
    func everyOperationIsTimedAndRight(worldSize: Int) throws {
        let coordinator = try LocalCoordinator(worldSize: worldSize)
        defer { coordinator.stop() }
        inThreads(worldSize) { rank in
            do {
                let environment = try coordinator.environment(rank: rank)
                let ring = try Ring(environment)
                let bench = try Bench(ring: ring, environment: environment)
                for operation in BenchOperation.allCases {
                    for reduction in BenchReduction.allCases where reduction.isPossible(operation) {
                        for bytes in [4, 1000, 1_200_004] {
                            let line = try bench.run(operation, reduction, bytes: bytes, rounds: 6)
                            #expect(line.wrong == 0 && line.times.least > 0 && line.raw.least > 0)
                            #expect(line.times.least <= line.times.median && line.times.median <= line.times.percentile99)
                            #expect(line.bytes == (operation == .barrier ? 0 : bytes / reduction.elementBytes * reduction.elementBytes))
                        }
                    }
                }
                ring.close()
            } catch {
                Issue.record("rank \(rank) of \(worldSize): \(error)")
            }
        }
    }

    @Test func aStrangerIsNotTakenForTheNeighbour() {
        var address = [UInt8](repeating: 0, count: Int(LOCKSTEP_RAW_ADDRESS_BYTES))
        let listener = lockstep_raw_listen("127.0.0.1", 80, &address)
        #expect(listener >= 0)
        let stranger = lockstep_raw_connect(address, 1, 60_000)
        let neighbour = lockstep_raw_connect(address, 2, 60_000)
        let accepted = lockstep_raw_accept(listener, 2, 60_000)
        #expect(accepted >= 0)
        #expect(lockstep_raw_accept(listener, 2, 50) == -ETIMEDOUT)
        // What the neighbour sends arrives; the stranger's connection is closed.
        var byte: UInt8 = 7
        #expect(send(neighbour, &byte, 1, 0) == 1)
        var got: UInt8 = 0
        #expect(recv(accepted, &got, 1, 0) == 1 && got == 7)
        #expect(recv(stranger, &got, 1, 0) <= 0)
        for descriptor in [listener, stranger, neighbour, accepted] { close(descriptor) }
    }
}
