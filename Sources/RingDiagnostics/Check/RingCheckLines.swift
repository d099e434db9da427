import Collectives

extension RingCheck {
    /// A type's whole numbers, whose sums over all ranks are exact.
    struct Numbers<Element: RingElement & Equatable> {
        let name: String
        /// No sum may be larger than this.
        let most: Int
        let value: (Int) -> Element
        let number: (Element) -> Double

        init(_ name: String, most: Int, value: @escaping (Int) -> Element, number: @escaping (Element) -> Double) {
            self.name = name
            self.most = most
            self.value = value
            self.number = number
        }
    }

    private static let period = 1021

    /// What a rank has at an index: from -limit to limit, different for each rank, index below the period, and seed.
    private func whole(rank: Int, index: Int, limit: Int) -> Int {
        let mixed = (UInt64(index) &+ seed) &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(rank) &* 0xD1B5_4A32_D192_ED03
        return Int((mixed &* 0xBF58_476D_1CE4_E5B9) >> 33) % (2 * limit + 1) - limit
    }

    /// One period of what this rank has, and of what comes of all ranks' numbers.
    private func tables<Element>(
        _ numbers: Numbers<Element>, _ operation: ReduceOperation, _ ring: Ring
    ) -> (own: [Element], expected: [Element]) {
        let limit = max(1, numbers.most / ring.worldSize)
        let own = (0..<RingCheck.period).map { numbers.value(whole(rank: ring.place, index: $0, limit: limit)) }
        let expected = (0..<RingCheck.period).map { index in
            let values = (0..<ring.worldSize).map { whole(rank: $0, index: index, limit: limit) }
            return switch operation {
            case .sum: numbers.value(values.reduce(0, +))
            case .max: numbers.value(values.max()!)
            case .min: numbers.value(values.min()!)
            }
        }
        return (own, expected)
    }

    /// Several all-reduces under way, for each length.
    func allReduce<Element>(_ numbers: Numbers<Element>, _ operation: ReduceOperation, _ ring: Ring) throws -> Outcome {
        var tally = RingCheckTally(rank: ring.place, worldSize: ring.worldSize)
        var delays = RingCheckDelays(seed: seed, rank: ring.place)
        let (own, expected) = tables(numbers, operation, ring)
        for length in lengths(worldSize: ring.worldSize, elementBytes: MemoryLayout<Element>.stride) {
            let memories = (0..<Self.operationsAtOnce).map { _ in UnsafeMutableBufferPointer<Element>.allocate(capacity: length) }
            defer { memories.forEach { $0.deallocate() } }
            var tickets: [Ring.Ticket] = []
            for (shift, memory) in memories.enumerated() {
                for index in 0..<length { memory[index] = own[(index + shift) % RingCheck.period] }
                delays.wait()
                tickets.append(try ring.startAllReduce(memory, operation))
            }
            for (shift, memory) in memories.enumerated() {
                try ring.wait(for: tickets[shift])
                tally.compare(memory, with: numbers.number) { expected[($0 + shift) % RingCheck.period] }
            }
        }
        return try tally.outcome("all-reduce", type: numbers.name, reduction: "\(operation)", on: ring)
    }

    /// The same for carriers: whole numbers far beyond float32's 24 bits, of which the sum is rounded once.
    func carriers(_ ring: Ring) throws -> Outcome {
        var tally = RingCheckTally(rank: ring.place, worldSize: ring.worldSize)
        var delays = RingCheckDelays(seed: seed, rank: ring.place)
        let (own, sums) = tables(Numbers<Double>("carriers", most: 1 << 52) { Double($0) } number: { $0 }, .sum, ring)
        let expected = sums.map { Float($0) }
        for length in lengths(worldSize: ring.worldSize, elementBytes: 8) {
            let sources = (0..<Self.operationsAtOnce).map { _ in UnsafeMutableBufferPointer<Double>.allocate(capacity: length) }
            let results = sources.map { _ in UnsafeMutableBufferPointer<Float>.allocate(capacity: length) }
            defer {
                sources.forEach { $0.deallocate() }
                results.forEach { $0.deallocate() }
            }
            var tickets: [Ring.Ticket] = []
            for (shift, source) in sources.enumerated() {
                for index in 0..<length { source[index] = own[(index + shift) % RingCheck.period] }
                results[shift].initialize(repeating: .nan)
                delays.wait()
                tickets.append(
                    try ring.startAllReduce(carriers: UnsafeBufferPointer(source), into: results[shift].baseAddress!))
            }
            for (shift, result) in results.enumerated() {
                try ring.wait(for: tickets[shift])
                tally.compare(result, with: { Double($0) }) { expected[($0 + shift) % RingCheck.period] }
            }
        }
        return try tally.outcome("all-reduce", type: "carriers", reduction: "exact sum", on: ring)
    }

    /// The whole exact call on float32 of mixed magnitudes.
    func exact(_ ring: Ring) throws -> Outcome {
        var tally = RingCheckTally(rank: ring.place, worldSize: ring.worldSize)
        var delays = RingCheckDelays(seed: seed, rank: ring.place)
        for length in lengths(worldSize: ring.worldSize, elementBytes: 4) {
            let memory = UnsafeMutableBufferPointer<Float>.allocate(capacity: length)
            defer { memory.deallocate() }
            for index in 0..<length { memory[index] = Float(Double(multiple(rank: ring.place, index: index)) * 0x1p-20) }
            delays.wait()
            try ring.allReduceExactly(memory)
            tally.compare(memory, with: { Double($0) }) { index in
                let sum = (0..<ring.worldSize).reduce(Int64(0)) { $0 + multiple(rank: $1, index: index) }
                return Float(Double(sum) * 0x1p-20)
            }
        }
        return try tally.outcome("all-reduce", type: "float32", reduction: "exact sum", on: ring)
    }

    /// A multiple of the exact check's 2^-20: ranks 2 k and 2 k + 1 have large opposite numbers that differ by a small one.
    private func multiple(rank: Int, index: Int) -> Int64 {
        var mixed = (UInt64(index) &+ 1) &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(rank / 2) &* 0xD1B5_4A32_D192_ED03
        mixed ^= mixed >> 29
        let shift = mixed % 21
        // 23 bits, so that it is a float32 as it stands; shifted, up to 2^43.
        let large = Int64(mixed >> 41) << Int64(shift)
        let small = Int64(mixed & 0x3FF)
        return rank % 2 == 0 ? large : (large > 1 << 24 ? -large : small - large)
    }

    /// The halves of an all-reduce, and broadcasts from each rank in turn. What an all-gather or a broadcast carries is the table of
    /// sums, and this rank's own numbers stand where they must not stay.
    func other(_ kind: Kind, _ ring: Ring) throws -> Outcome {
        var tally = RingCheckTally(rank: ring.place, worldSize: ring.worldSize)
        var delays = RingCheckDelays(seed: seed, rank: ring.place)
        let numbers = Numbers<Int32>("int32", most: 1 << 30) { Int32($0) } number: { Double($0) }
        let (own, sums) = tables(numbers, .sum, ring)
        var name = ""
        for (round, length) in lengths(worldSize: ring.worldSize, elementBytes: 4).enumerated() {
            let memory = UnsafeMutableBufferPointer<Int32>.allocate(capacity: length)
            defer { memory.deallocate() }
            let chunk = ring.chunk(ring.place, of: length)
            let root = round % ring.worldSize
            for index in 0..<length {
                let holdsSum = kind == .allGather ? chunk.contains(index) : kind == .broadcast && ring.place == root
                memory[index] = (holdsSum ? sums : own)[index % RingCheck.period]
            }
            delays.wait()
            switch kind {
            case .reduceScatter:
                name = "reduce-scatter"
                try ring.reduceScatter(memory)
            case .allGather:
                name = "all-gather"
                try ring.allGather(memory)
            default:
                name = "broadcast"
                try ring.broadcast(memory, from: root)
            }
            tally.compare(memory, with: { Double($0) }) { index in
                (kind != .reduceScatter || chunk.contains(index) ? sums : own)[index % RingCheck.period]
            }
        }
        return try tally.outcome(name, type: numbers.name, reduction: kind == .reduceScatter ? "sum" : "-", on: ring)
    }
}
