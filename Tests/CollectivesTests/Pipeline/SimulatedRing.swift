import Collectives
import TestSupport
import Wire

/// A ring of `RingProtocol`s without sockets: bytes wait in queues, and a seeded choice decides whose turn it is.
///
/// Writes may be refused at once and finish later, reads may be delayed as long as the seed likes: every order in which real
/// sockets could deliver is one that this can produce.
final class SimulatedRing {
    struct OutOfOrder: Error {
        let ended: UInt64
        let next: UInt64
    }

    final class Worker: RingLink {
        var ring: RingProtocol<Worker>!
        /// What this rank has sent and its right neighbour has not taken yet: header and body of each frame.
        var outgoing: [(header: FrameHeader, body: [UInt8])] = []
        var unfinishedWrites: [(token: Int, header: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer)] = []
        var isPaused = false
        var completed: UInt64 = 0
        /// What was sent was no frame, or the ring's operations did not end in their order.
        private(set) var failure: (any Error)?
        private var submitted: UInt64 = 0
        var sendsAtOnce: () -> Bool = { true }

        func send(header: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, token: Int) -> Bool {
            if unfinishedWrites.isEmpty, sendsAtOnce() {
                deliver(header, body)
                return true
            }
            unfinishedWrites.append((token, header, body))
            return false
        }

        /// The oldest write leaves now: its memory is read only now, as a socket might.
        func finishWrite() throws {
            let write = unfinishedWrites.removeFirst()
            deliver(write.header, write.body)
            try ring.wrote(token: write.token)
        }

        private func deliver(_ header: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer) {
            do {
                outgoing.append((try FrameHeader(sent: header, generation: ring.generation), Array(body)))
            } catch {
                failure = error
            }
        }

        func resume() { isPaused = false }
        func completed(_ sequence: UInt64) {
            if sequence != completed { failure = OutOfOrder(ended: sequence, next: completed) }
            completed += 1
        }

        func submit(_ operation: CollectiveOperation) throws {
            submitted += 1
            try ring.submit(operation, sequence: submitted - 1)
        }
    }

    let workers: [Worker]
    private var generator: SeededGenerator

    /// Some ranks pack what they send, others do not, as the seed has it.
    init(worldSize: Int, seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        workers = (0..<worldSize).map { rank in
            let worker = Worker()
            worker.ring = RingProtocol(rank: rank, worldSize: worldSize, generation: 1, packs: Bool.random(using: &generator), link: worker)
            var own = SeededGenerator(seed: generator.next())
            worker.sendsAtOnce = { Bool.random(using: &own) }
            return worker
        }
        self.generator = generator
    }

    /// One event at one rank, if it has one: a frame arrives or a write leaves. False where nothing can happen at this rank.
    private func advance(_ rank: Int) throws -> Bool {
        let worker = workers[rank]
        if let failure = worker.failure { throw failure }
        let left = workers[(rank + workers.count - 1) % workers.count]
        if !worker.unfinishedWrites.isEmpty, Bool.random(using: &generator) {
            try worker.finishWrite()
            return true
        }
        guard !worker.isPaused, let frame = left.outgoing.first else {
            guard !worker.unfinishedWrites.isEmpty else { return false }
            try worker.finishWrite()
            return true
        }
        switch try worker.ring.landing(for: frame.header) {
        case .at(let memory):
            guard memory.count == frame.body.count else { throw Misfit(place: memory.count, frame: frame.body.count) }
            memory.copyBytes(from: frame.body)
            left.outgoing.removeFirst()
            try worker.ring.landed()
        case .pause:
            worker.isPaused = true
        }
        return true
    }

    /// Runs until no rank can do anything, or until so many frames have come and writes have left, when the ring
    /// breaks; `submit(rank)` is asked now and then to submit a rank's next operation.
    func run(events: Int = .max, submit: (Int) throws -> Bool) throws {
        var stillSubmitting = Set(workers.indices)
        var events = events
        while events > 0 {
            let rank = Int.random(in: 0..<workers.count, using: &generator)
            if stillSubmitting.contains(rank), Int.random(in: 0..<8, using: &generator) == 0 {
                if try !submit(rank) { stillSubmitting.remove(rank) }
                continue
            }
            if try advance(rank) {
                events -= 1
                continue
            }
            var anyAdvanced = false
            for other in workers.indices where try advance(other) { anyAdvanced = true }
            if !anyAdvanced, stillSubmitting.isEmpty { return }
        }
    }
}
