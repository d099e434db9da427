import Collectives
import TestSupport
import Testing
import Wire

@Suite struct ExchangeTests {
    /// Rounds are executed on sets of ranks instead of bytes: what a rank is said to have is sent only if it has it.
    @Test(arguments: 2...40)
    func everyRankHasAllBlocksInTheEnd(worldSize: Int) {
        let plans = (0..<worldSize).map { ExchangePlan(rank: $0, worldSize: worldSize) }
        var known = (0..<worldSize).map { Set([$0]) }
        for round in 0..<plans[0].rounds {
            let before = known
            for plan in plans {
                let sender = plans[plan.origin(round)]
                #expect(sender.target(round) == plan.rank)
                #expect(sender.partners.contains(plan.rank) && plan.partners.contains(sender.rank))
                let sent = (0..<worldSize).filter { sender.block(of: $0) < sender.blocks(round) }
                #expect(before[sender.rank].isSuperset(of: sent))
                let places = (0..<worldSize).filter {
                    (plan.firstReceived(round)..<(plan.firstReceived(round) + plan.blocks(round))).contains(plan.block(of: $0))
                }
                #expect(places == sent, "round \(round), rank \(plan.rank)")
                known[plan.rank].formUnion(sent)
            }
        }
        #expect(known.allSatisfy { $0.count == worldSize })
        #expect(1 << plans[0].rounds >= worldSize && 1 << (plans[0].rounds - 1) < worldSize)
    }

    /// Numbers whose sum depends on the order in which they are added: every rank must have the sum in the order of the ranks.
    private func check(worldSize: Int, counts: [Int], kinds: [Reduction.Element], inPlace: Bool, seed: UInt64) throws {
        let world = SimulatedExchange(worldSize: worldSize, seed: seed)
        func value(rank: Int, operation: Int, index: Int) -> Double {
            Double(rank + 1) * 0x1p40 / Double((index + operation) % 97 + 1)
        }
        let memories = (0..<worldSize).map { rank in
            counts.enumerated().map { number, count in
                let kind = kinds[number % kinds.count]
                let memory = OperationMemory(kind, count: count, inPlace: inPlace && kind != .carrier)
                for index in 0..<count {
                    let value = value(rank: rank, operation: number, index: index)
                    if kind == .float32 {
                        memory.source.storeBytes(of: Float(value), toByteOffset: index * 4, as: Float.self)
                    } else {
                        memory.source.storeBytes(of: value, toByteOffset: index * 8, as: Double.self)
                    }
                }
                return memory
            }
        }
        var submitted = [Int](repeating: 0, count: worldSize)
        try world.run { rank in
            let (reduction, source, result, count) = memories[rank][submitted[rank]].operation
            try world.workers[rank].submit(.init(reduction: reduction, source: source, result: result, count: count))
            submitted[rank] += 1
            return submitted[rank] < counts.count
        }
        for rank in 0..<worldSize {
            try #require(world.workers[rank].completed.count == counts.count, "rank \(rank) of \(worldSize), seed \(seed)")
            for (number, count) in counts.enumerated() {
                let kind = kinds[number % kinds.count]
                for index in 0..<count {
                    let values = (0..<worldSize).map { value(rank: $0, operation: number, index: index) }
                    let expected =
                        switch kind {
                        case .float32: Double(values.dropFirst().reduce(Float(values[0])) { $0 + Float($1) })
                        case .carrier: Double(Float(values.dropFirst().reduce(values[0], +)))
                        default: values.dropFirst().reduce(values[0], +)
                        }
                    guard memories[rank][number].sum(index) == expected else {
                        Issue.record("rank \(rank), operation \(number), index \(index): \(memories[rank][number].sum(index)), not \(expected)")
                        return
                    }
                }
            }
        }
    }

    @Test(arguments: 2...9)
    func sumsInTheOrderOfTheRanks(worldSize: Int) throws {
        let longest = ExchangeProtocol<SimulatedExchange.Worker>.longestBlock(worldSize: worldSize)
        // More exchanges than the window, so that ranks run ahead of one another.
        let counts = [1, 2, 17, longest / 8, longest / 8 - 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 333, 1]
        for seed in 0..<6 {
            try check(
                worldSize: worldSize, counts: counts, kinds: [.float32, .carrier, .float64], inPlace: seed % 2 == 0,
                seed: UInt64(seed))
        }
    }

    @Test(arguments: [17, 33])
    func manyRanks(worldSize: Int) throws {
        try check(
            worldSize: worldSize, counts: [1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1], kinds: [.float32], inPlace: true, seed: 9)
    }

    @Test func differingProgramsAreToldSo() throws {
        let world = SimulatedExchange(worldSize: 3, seed: 1)
        let memories = [100, 100, 101].map { OperationMemory(.float32, count: $0) }
        memories.forEach { $0.fill { _ in 1 } }
        let error = #expect(throws: CollectiveError.self) {
            try world.run { rank in
                let (reduction, source, result, count) = memories[rank].operation
                try world.workers[rank].submit(.init(reduction: reduction, source: source, result: result, count: count))
                return false
            }
        }
        guard case .mismatch(_, 0, _, _) = error else {
            Issue.record("expected a mismatch, got \(String(describing: error))")
            return
        }
    }

    /// What is an exchange to one rank is an operation of the ring to another, which submits it first or last.
    @Test(arguments: [false, true])
    func anotherKindOfOperationIsToldSo(isPassedFirst: Bool) throws {
        let workers = (0..<2).map { SimulatedExchange.Worker(rank: $0, worldSize: 2) }
        let short = OperationMemory(.float32, count: 1)
        let long = OperationMemory(.float32, count: 1 << 20)
        short.fill { _ in 1 }
        let error = #expect(throws: CollectiveError.self) {
            let (reduction, source, result, count) = short.operation
            try workers[0].submit(.init(reduction: reduction, source: source, result: result, count: count))
            let frame = workers[0].outgoing[0][0]
            if isPassedFirst { try workers[1].pass(.init(reduction: reduction, source: long.source, result: long.result, count: long.count)) }
            guard case .at(let place) = try workers[1].exchange.landing(for: frame.header, round: 0) else { return }
            place.copyBytes(from: frame.body)
            try workers[1].exchange.landed(round: 0)
            try workers[1].pass(.init(reduction: reduction, source: long.source, result: long.result, count: long.count))
        }
        guard case .mismatch(rank: 0, operation: 0, theirs: "all-reduce (float32 sum) of 1 elements", _) = error else {
            Issue.record("expected a mismatch, got \(String(describing: error))")
            return
        }
    }

    /// Random headers and damaged ones among right ones, at any moment: an error or a place within the exchange's memory, never a trap.
    @Test func hostileFramesAreRefused() throws {
        var generator = SeededGenerator(seed: 77)
        var refused = 0
        var taken = 0
        for _ in 0..<20_000 {
            let worldSize = Int.random(in: 2...5, using: &generator)
            let worker = SimulatedExchange.Worker(rank: 1, worldSize: worldSize)
            let memories = (0..<3).map { _ in OperationMemory(.float32, count: [1, 7, 1000].randomElement(using: &generator)!) }
            memories.forEach { $0.fill { _ in 1 } }
            func submit(_ range: Range<Int>) throws {
                for number in range {
                    let (reduction, source, result, count) = memories[number].operation
                    try worker.submit(.init(reduction: reduction, source: source, result: result, count: count))
                }
            }
            let early = Int.random(in: 0...3, using: &generator)
            let limit = UInt32(worker.exchange.payloadLimit)
            do {
                try submit(0..<early)
                for number in 0..<12 {
                    let round = Int.random(in: 0..<worker.exchange.plan.rounds, using: &generator)
                    var header = rightHeader(memories[number / 4], number / 4, round, worker.exchange.plan)
                    if generator.next() % 4 == 0 { header.damage(limit: UInt64(limit), &generator) }
                    guard header.payloadBytes <= limit else { continue }
                    guard case .at(let place) = try worker.exchange.landing(for: header, round: round) else { continue }
                    try #require(place.count == Int(header.payloadBytes))
                    place.initializeMemory(as: UInt8.self, repeating: 0)
                    try worker.exchange.landed(round: round)
                    taken += 1
                }
                try submit(early..<3)
            } catch let error as CollectiveError {
                refused += 1
                switch error {
                case .protocolViolation, .mismatch: break
                default: Issue.record("\(error)")
                }
            }
        }
        #expect(taken > 10_000 && refused > 5000, "\(taken) taken, \(refused) refused")
    }

    private func rightHeader(_ memory: OperationMemory, _ number: Int, _ round: Int, _ plan: ExchangePlan) -> FrameHeader {
        let (reduction, source, result, count) = memory.operation
        let operation = CollectiveOperation(reduction: reduction, source: source, result: result, count: count)
        return FrameHeader(
            generation: 1, operation: UInt64(number), slice: UInt64(number), hop: UInt16(round), signature: operation.signature,
            payloadBytes: UInt32(plan.blocks(round) * count * 4), elementCount: UInt64(count))
    }
}
