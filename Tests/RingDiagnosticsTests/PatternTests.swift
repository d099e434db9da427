import Collectives
import RingDiagnostics
import Testing
import TestSupport

@Suite(.serialized) struct PatternTests {
    private static func lengths(_ worldSize: Int) -> [Int] { [0, 1, worldSize - 1, worldSize, worldSize + 1, 1009, 300_007] }

    @Test(arguments: [1, 2, 3, 5])
    func reduceScatterGivesEachRankItsChunk(worldSize: Int) throws {
        try inWorld(of: worldSize) { ring in
            for count in Self.lengths(worldSize) {
                var values = (0..<count).map { Int64($0 * (ring.rank + 1)) }
                try values.withUnsafeMutableBufferPointer { try ring.reduceScatter($0) }
                let own = ring.chunk(ring.rank, of: count)
                let factor = worldSize * (worldSize + 1) / 2
                for index in 0..<count {
                    let expected = own.contains(index) ? index * factor : index * (ring.rank + 1)
                    guard values[index] == Int64(expected) else {
                        Issue.record("count \(count), index \(index): \(values[index]), not \(expected)")
                        return
                    }
                }
            }
        }
    }

    @Test(arguments: [1, 2, 3, 5])
    func allGatherGivesEveryRankAllChunks(worldSize: Int) throws {
        try inWorld(of: worldSize) { ring in
            for count in Self.lengths(worldSize) {
                let own = ring.chunk(ring.rank, of: count)
                var values = (0..<count).map { own.contains($0) ? Double($0) + 0.5 : -1 }
                try values.withUnsafeMutableBufferPointer { try ring.allGather($0) }
                #expect(values == (0..<count).map { Double($0) + 0.5 })
            }
        }
    }

    @Test(arguments: [1, 2, 3, 5])
    func broadcastGivesEveryRankTheRootsBits(worldSize: Int) throws {
        try inWorld(of: worldSize) { ring in
            for root in 0..<worldSize {
                for count in Self.lengths(worldSize) {
                    // NaN and the negative zero would not survive an addition.
                    let sent = (0..<count).map { Int32(truncatingIfNeeded: $0 &* 2_654_435_761) | Int32(bitPattern: 0x8000_0000) }
                    var values = ring.rank == root ? sent.map { Float(bitPattern: UInt32(bitPattern: $0)) } : [Float](repeating: 1, count: count)
                    try values.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: root) }
                    #expect(values.map { Int32(bitPattern: $0.bitPattern) } == sent)
                }
            }
        }
    }

    /// Exact sums that the owner of a chunk and the member after it have, and values made of them that all have: of chunks that begin at
    /// multiples of a grain, some of them empty.
    @Test(arguments: [1, 2, 3, 5], [1, 16])
    func sumsForTwoAndValuesForAll(worldSize: Int, grain: Int) throws {
        try inWorld(of: worldSize) { ring in
            for count in Self.lengths(worldSize) where count > 0 {
                let carriers = (0..<count).map { Double($0 % 1000 * (ring.rank + 1)) }
                var values = [Float](repeating: -1, count: count)
                try values.withUnsafeMutableBufferPointer { values in
                    try carriers.withUnsafeBufferPointer { carriers in
                        let ticket = try ring.startSum(
                            ofCarriers: carriers, into: values.baseAddress!, for: .ownerAndNext(grain: grain))
                        try ring.wait(for: ticket)
                    }
                    let factor = worldSize * (worldSize + 1) / 2
                    for owner in [ring.place, (ring.place + worldSize - 1) % worldSize] {
                        let chunk = RingPlan.chunk(owner, of: count, worldSize: worldSize, grain: grain)
                        #expect(chunk.isEmpty || chunk.lowerBound % grain == 0)
                        for index in chunk where values[index] != Float(index % 1000 * factor) && values[index] >= 0 {
                            Issue.record("count \(count), index \(index): \(values[index])")
                            return
                        }
                        // Twice over in a world of one or two: once is enough.
                        for index in chunk where values[index] >= 0 { values[index] = -2 - Float(index) }
                    }
                    if let ticket = try ring.startAllGather(fromCopies: values, grain: grain) { try ring.wait(for: ticket) }
                    #expect(values.indices.allSatisfy { values[$0] == -2 - Float($0) }, "count \(count)")
                    try ring.barrier()
                }
            }
        }
    }

    /// The two halves move the bytes of one all-reduce of float32.
    @Test(arguments: [2, 3, 5]) func copiesCostNoBytes(worldSize: Int) throws {
        try inWorld(of: worldSize) { ring in
            let count = 60_000
            var values = [Float](repeating: 1, count: count)
            try values.withUnsafeMutableBufferPointer { values in
                let before = ring.bytesSent
                try ring.allReduce(values)
                let whole = ring.bytesSent - before
                let ticket = try ring.startSum(of: UnsafeBufferPointer(values), into: values.baseAddress!, for: .ownerAndNext(grain: 1))
                try ring.wait(for: ticket)
                if let ticket = try ring.startAllGather(fromCopies: values, grain: 1) { try ring.wait(for: ticket) }
                #expect(ring.bytesSent - before == 2 * whole)
                try ring.barrier()
            }
        }
    }

    /// Operations of all kinds under way one after the other, each begun without waiting for the other ranks.
    @Test func patternsMix() throws {
        try inWorld(of: 3) { ring in
            for round in 0..<200 {
                let root = round % 3
                var number = [Int32(ring.rank == root ? round : 0)]
                try number.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: root) }
                #expect(number[0] == Int32(round))
                try number.withUnsafeMutableBufferPointer { try ring.allReduce($0, .max) }
                try ring.barrier()
                var all = [Int32](repeating: 0, count: 3)
                all[ring.rank] = Int32(ring.rank)
                try all.withUnsafeMutableBufferPointer { try ring.allGather($0) }
                #expect(all == [0, 1, 2])
            }
        }
    }

    @Test func theWholeCheckIsRight() throws {
        try inWorld(of: 3) { ring in
            for (kind, operation) in RingCheck.lines {
                let outcome = try RingCheck(largestBytes: 300_000).run(kind, operation, on: ring)
                #expect(outcome.wrong == 0 && outcome.elements > 100_000, "\(kind) \(operation)")
            }
        }
    }

    @Test func theExactSumOfMixedMagnitudes() throws {
        try inWorld(of: 4) { ring in
            var values = [[Float(1e8), 1, .nan, 3, 0], [-1e8, 0x1p-20, 1, .infinity, 0], [0x1p-24, 0, 1, 1, 0], [1, -1, 1, 1, -0.0]][ring.rank]
            try values.withUnsafeMutableBufferPointer { try ring.allReduceExactly($0) }
            #expect(values[2].isNaN && values[3] == .infinity && values[4] == 0)
            var finite = [[Float(1e8), 1], [-1e8, 0x1p-20], [0x1p-20, 0], [1, -1]][ring.rank]
            try finite.withUnsafeMutableBufferPointer { try ring.allReduceExactly($0) }
            #expect(finite == [1 + 0x1p-20, 0x1p-20])
            var none: [Float] = []
            try none.withUnsafeMutableBufferPointer { try ring.allReduceExactly($0) }
        }
    }
}
