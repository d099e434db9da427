import Collectives
import Wire

/// One worker's ring of a generation in a simulation: `RingProtocol` between two virtual connections.
final class SimulatedRing: RingLink {
    /// One direction of bytes between two members: frames arrive in order.
    final class Line {
        unowned let from: SimulatedWorker
        unowned let to: SimulatedWorker
        let generation: UInt32
        var lastArrival = Duration.zero
        /// Bytes go in and none comes out.
        var isStalled = false
        var hasEnded = false

        init(from: SimulatedWorker, to: SimulatedWorker, generation: UInt32) {
            self.from = from
            self.to = to
            self.generation = generation
        }
    }

    private(set) var ring: RingProtocol<SimulatedRing>!
    private unowned let worker: SimulatedWorker
    private unowned let simulation: Simulation
    let left: Line
    let right: Line
    let generation: UInt32
    private var sequence: UInt64 = 0
    private var paused: (header: FrameHeader, body: [UInt8])?
    private var waiting: [(header: FrameHeader, body: [UInt8])] = []
    private var unsent: [(head: [UInt8], body: UnsafeRawBufferPointer, token: Int)] = []
    private(set) var isStopped = false

    init(worker: SimulatedWorker, left: Line, right: Line, place: Int, worldSize: Int, generation: UInt32) {
        self.worker = worker
        simulation = worker.simulation
        self.left = left
        self.right = right
        self.generation = generation
        ring = RingProtocol(rank: place, worldSize: worldSize, generation: generation, packs: true, link: self)
    }

    var bytesMoved: UInt64 { ring.bytesSent + ring.bytesReceived }

    func submit(_ operation: CollectiveOperation) throws {
        sequence += 1
        try ring.submit(operation, sequence: sequence - 1)
    }

    /// No bytes go in or out any more.
    func stop() {
        isStopped = true
    }

    // MARK: RingLink

    func send(header: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, token: Int) -> Bool {
        let head = Array(header.prefix(FrameHeader.byteCount))
        if unsent.isEmpty, Bool.random(using: &simulation.generator) {
            deliver(head, Array(body))
            return true
        }
        // It leaves later, from where it then stands.
        unsent.append((head, body, token))
        if unsent.count == 1 { sendLater() }
        return false
    }

    private func sendLater() {
        let worker = worker
        simulation.clock.at(simulation.clock.now + simulation.chance(of: .microseconds(300))) { [weak self] in
            try worker.deliver { [weak self] in
                guard let self, !isStopped else { return }
                let (head, body, token) = unsent.removeFirst()
                deliver(head, Array(body))
                if !unsent.isEmpty { sendLater() }
                try ring.wrote(token: token)
                try worker.operationMayHaveEnded()
            }
        }
    }

    private func deliver(_ head: [UInt8], _ body: [UInt8]) {
        guard !right.isStalled, !right.hasEnded else { return }
        let line = right
        simulation.clock.at(simulation.arrival(after: &line.lastArrival)) {
            guard !line.isStalled else { return }
            try line.to.deliver { try line.to.frame(head, body, over: line) }
        }
    }

    func resume() {
        guard let frame = paused else { return }
        paused = nil
        let (simulation, worker) = (simulation, worker)
        simulation.clock.at(simulation.clock.now) { [weak self] in
            try worker.deliver { [weak self] in
                guard let self, !isStopped else { return }
                let rest = [frame] + waiting
                waiting = []
                for frame in rest { try take(frame.header, frame.body) }
                try worker.operationMayHaveEnded()
            }
        }
    }

    func completed(_ sequence: UInt64) {
        hasCompleted = true
    }

    var hasCompleted = false

    // MARK: Receiving

    func receive(_ head: [UInt8], _ body: [UInt8]) throws {
        let header = try head.withUnsafeBytes {
            try FrameHeader(decoding: $0.baseAddress!, generation: generation, payloadLimit: ring.payloadLimit)
        }
        try take(header, body)
    }

    private func take(_ header: FrameHeader, _ body: [UInt8]) throws {
        guard paused == nil else { return waiting.append((header, body)) }
        switch try ring.landing(for: header) {
        case .pause: paused = (header, body)
        case .at(let memory):
            guard memory.count == body.count else {
                throw Simulation.Failure(description: "\(body.count) bytes land in a place for \(memory.count)")
            }
            memory.copyBytes(from: body)
            try ring.landed()
        }
    }
}
