import Collectives
import TestSupport
import Wire

/// A frame that is longer or shorter than the place where its body is to land.
struct Misfit: Error {
    let place: Int
    let frame: Int
}

extension FrameHeader {
    /// The header of a frame as a protocol hands it over to be sent.
    init(sent bytes: UnsafeRawBufferPointer, generation: UInt32) throws {
        guard bytes.count >= FrameHeader.byteCount, let start = bytes.baseAddress else {
            throw Misfit(place: FrameHeader.byteCount, frame: bytes.count)
        }
        try self.init(decoding: start, generation: generation, payloadLimit: 1 << 20)
    }
}

/// `ExchangeProtocol`s of a whole world without sockets: bytes wait in queues, and a seeded choice decides whose turn it is, as in
/// `SimulatedRing`.
final class SimulatedExchange {
    final class Worker: ExchangeLink {
        var exchange: ExchangeProtocol<Worker>!
        /// What this rank has sent in each round and the target has not taken yet.
        var outgoing: [[(header: FrameHeader, body: [UInt8])]] = []
        var unfinishedWrites: [[(token: Int, header: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer)]] = []
        var isPaused: [Bool] = []
        var completed: Set<UInt64> = []
        var sendsAtOnce: () -> Bool = { true }
        /// What was sent was no frame.
        private(set) var failure: (any Error)?
        private var submitted: UInt64 = 0

        init(rank: Int, worldSize: Int) {
            exchange = ExchangeProtocol(rank: rank, worldSize: worldSize, generation: 1, link: self)
            let rounds = exchange.plan.rounds
            outgoing = Array(repeating: [], count: rounds)
            unfinishedWrites = Array(repeating: [], count: rounds)
            isPaused = Array(repeating: false, count: rounds)
        }

        func submit(_ operation: CollectiveOperation) throws {
            submitted += 1
            try exchange.submit(operation, sequence: submitted - 1)
        }

        /// The next operation is one for the ring.
        func pass(_ operation: CollectiveOperation) throws {
            submitted += 1
            try exchange.passed(operation, sequence: submitted - 1)
        }

        func send(round: Int, header: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, token: Int) -> Bool {
            if unfinishedWrites[round].isEmpty, sendsAtOnce() {
                deliver(round, header, body)
                return true
            }
            unfinishedWrites[round].append((token, header, body))
            return false
        }

        /// The oldest write of a round leaves now: its memory is read only now, as a socket might.
        func finishWrite(_ round: Int) throws {
            let write = unfinishedWrites[round].removeFirst()
            deliver(round, write.header, write.body)
            try exchange.wrote(token: write.token)
        }

        private func deliver(_ round: Int, _ header: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer) {
            do {
                outgoing[round].append((try FrameHeader(sent: header, generation: 1), Array(body)))
            } catch {
                failure = error
            }
        }

        func resume(round: Int) { isPaused[round] = false }
        func completed(_ sequence: UInt64) { completed.insert(sequence) }
    }

    let workers: [Worker]
    private var generator: SeededGenerator

    init(worldSize: Int, seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        workers = (0..<worldSize).map { rank in
            let worker = Worker(rank: rank, worldSize: worldSize)
            var own = SeededGenerator(seed: generator.next())
            worker.sendsAtOnce = { Bool.random(using: &own) }
            return worker
        }
        self.generator = generator
    }

    /// One event at one rank in one round, if there is one: a frame arrives or a write leaves.
    private func advance(_ rank: Int, _ round: Int) throws -> Bool {
        let worker = workers[rank]
        if let failure = worker.failure { throw failure }
        if !worker.unfinishedWrites[round].isEmpty, Bool.random(using: &generator) {
            try worker.finishWrite(round)
            return true
        }
        let origin = workers[worker.exchange.plan.origin(round)]
        guard !worker.isPaused[round], let frame = origin.outgoing[round].first else {
            guard !worker.unfinishedWrites[round].isEmpty else { return false }
            try worker.finishWrite(round)
            return true
        }
        switch try worker.exchange.landing(for: frame.header, round: round) {
        case .at(let memory):
            guard memory.count == frame.body.count else { throw Misfit(place: memory.count, frame: frame.body.count) }
            memory.copyBytes(from: frame.body)
            origin.outgoing[round].removeFirst()
            try worker.exchange.landed(round: round)
        case .pause:
            worker.isPaused[round] = true
        }
        return true
    }

    /// Runs until no rank can do anything; `submit(rank)` is asked now and then to submit a rank's next operation.
    func run(submit: (Int) throws -> Bool) throws {
        var stillSubmitting = Set(workers.indices)
        let rounds = workers[0].exchange.plan.rounds
        while true {
            let rank = Int.random(in: 0..<workers.count, using: &generator)
            if stillSubmitting.contains(rank), Int.random(in: 0..<8, using: &generator) == 0 {
                if try !submit(rank) { stillSubmitting.remove(rank) }
                continue
            }
            if try advance(rank, Int.random(in: 0..<rounds, using: &generator)) { continue }
            var anyAdvanced = false
            for other in workers.indices {
                for round in 0..<rounds where try advance(other, round) { anyAdvanced = true }
            }
            if !anyAdvanced, stillSubmitting.isEmpty { return }
        }
    }
}
