import Wire

/// What an exchange's protocol asks of its connections. The driver is `RingConnections`; the tests have one without sockets.
package protocol ExchangeLink: AnyObject {
    /// Sends a header and a body to the target of a round. Says true if both have left already; else they stay where they are
    /// until `ExchangeProtocol.wrote(token)`, which is never called from within this call.
    func send(round: Int, header: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, token: Int) -> Bool
    /// Reading from the origin of a round may go on, after `Landing.pause`.
    func resume(round: Int)
    /// An operation has ended with its sum. Others before it may be under way.
    func completed(_ sequence: UInt64)
}

/// The protocol of exchanges, by which short all-reduces are done (`ExchangePlan`): which bytes go where and when, without sockets,
/// threads or clocks.
///
/// Exchanges are numbered among themselves in the order in which they are submitted, which all ranks have in common; the header's slice is
/// that number, its hop the round. At most `window` of them are under way at a time: exchange x starts here when x - window has ended
/// here. So what a partner may send always has a place, even if it belongs to an exchange that this rank's program has not submitted
/// yet. No deadlock: the lowest exchange that has not ended on some rank has been started by all, and on no connection does a frame of
/// an exchange beyond the window stand before one of its frames, since that frame's sender must have ended this exchange first.
///
/// Owns the blocks, `window` times `gatheredBytes`, and headers, allocated in init and never again. Confined to the thread that
/// drives the link.
package final class ExchangeProtocol<Link: ExchangeLink> {
    package static var window: Int { 8 }
    /// The blocks of all ranks of one exchange take no more.
    package static var gatheredBytes: Int { 128 << 10 }
    /// A header and the zeros after it.
    private static var headerStride: Int { 2 * FrameHeader.byteCount }

    /// One place of the window: an exchange that has started, or frames of one that has not.
    private struct Place {
        /// The exchange that has started; nil before.
        var operation: CollectiveOperation?
        var sequence: UInt64 = 0
        var number: UInt64 = 0
        /// A bit for each round: whose frame has been given a place, and has landed there.
        var taken: UInt32 = 0
        var landed: UInt32 = 0
        var nextSend = 0
        var writesLeft = 0
    }

    package let plan: ExchangePlan
    package let generation: UInt32
    /// One rank's elements may have so many bytes.
    package let longestBlock: Int
    /// Payload bytes received and sent since the beginning.
    package private(set) var bytesReceived: UInt64 = 0
    package private(set) var bytesSent: UInt64 = 0

    private unowned let link: Link
    private var places = [Place](repeating: Place(), count: ExchangeProtocol.window)
    private let blocks: UnsafeMutableRawPointer
    private let headers: UnsafeMutableRawPointer
    /// The headers of the frames that have come, for each place and round.
    private var arrived: [FrameHeader?]
    /// What is landing, and what waits for its place, for each round.
    private var landing: [FrameHeader?]
    private var paused: [FrameHeader?]
    /// Exchanges submitted and not started: a circle.
    private var queue: [(operation: CollectiveOperation, sequence: UInt64)?]
    private var submitted: UInt64 = 0
    private var started: UInt64 = 0
    /// All the program's operations below this have been submitted, here or elsewhere, as far as is known here.
    private var passed: UInt64 = 0

    /// Whether an all-reduce is so short that an exchange is faster than the ring, by measurement on loopback with two cores; see
    /// `gatheredBytes`. An operation on nothing is over at once on the ring.
    package static func isFor(_ operation: CollectiveOperation, worldSize: Int) -> Bool {
        let bytes = operation.count * operation.reduction.partialBytes
        return operation.pattern == .allReduce && bytes > 0 && bytes <= longestBlock(worldSize: worldSize)
    }

    /// A multiple of 64, so that blocks of all lengths have their places.
    package static func longestBlock(worldSize: Int) -> Int { max(64, gatheredBytes / worldSize & ~63) }

    package init(rank: Int, worldSize: Int, generation: UInt32, link: Link) {
        plan = ExchangePlan(rank: rank, worldSize: worldSize)
        self.generation = generation
        self.link = link
        longestBlock = ExchangeProtocol.longestBlock(worldSize: worldSize)
        let window = ExchangeProtocol.window
        // SAFETY: freed in deinit. The link outlives every send, so that nothing is read after that.
        blocks = .allocate(byteCount: window * worldSize * longestBlock, alignment: 4096)
        let headerBytes = window * plan.rounds * ExchangeProtocol.headerStride
        headers = .allocate(byteCount: headerBytes, alignment: 64)
        headers.initializeMemory(as: UInt8.self, repeating: 0, count: headerBytes)
        arrived = Array(repeating: nil, count: window * plan.rounds)
        landing = Array(repeating: nil, count: plan.rounds)
        paused = Array(repeating: nil, count: plan.rounds)
        queue = Array(repeating: nil, count: CollectiveOperation.mostUnderWay)
    }

    deinit {
        blocks.deallocate()
        headers.deallocate()
    }

    /// The longest payload that a partner may send.
    package var payloadLimit: Int { (plan.worldSize - 1) * longestBlock }

    /// Sends that may be under way at a time.
    package var mostSends: Int { ExchangeProtocol.window * plan.rounds }

    /// The round whose frame is needed next: its connection is worth looking at. Nothing moves in the first exchange before it is here.
    package var awaitedRound: Int? {
        var first: Place?
        for place in places where place.operation != nil && place.number < first?.number ?? .max { first = place }
        return first.flatMap { awaitedRound(of: $0) }
    }

    private func awaitedRound(of place: Place) -> Int? {
        let missing = ~place.landed & (bit(plan.rounds) - 1)
        return missing == 0 ? nil : missing.trailingZeroBitCount
    }

    /// Whom this rank waits for in the program's operation `sequence`; nil if that is no exchange under way.
    package func awaitedRank(sequence: UInt64) -> Int? {
        guard let place = places.first(where: { $0.operation != nil && $0.sequence == sequence }) else { return nil }
        if let round = awaitedRound(of: place) { return plan.origin(round) }
        return plan.target(place.nextSend - 1)
    }

    /// Puts an exchange in the queue, as the program's operation `sequence`, and starts it if the window allows.
    package func submit(_ operation: CollectiveOperation, sequence: UInt64) throws(CollectiveError) {
        precondition(operation.count > 0 && operation.count * operation.reduction.partialBytes <= longestBlock)
        precondition(submitted - started < UInt64(queue.count), "more exchanges under way than operations may be")
        queue[Int(submitted % UInt64(queue.count))] = (operation, sequence)
        submitted += 1
        passed = sequence + 1
        try startAll()
    }

    /// The program's operation `sequence` is no exchange here: a partner to whom it is one runs another program.
    package func passed(_ operation: CollectiveOperation, sequence: UInt64) throws(CollectiveError) {
        passed = sequence + 1
        for round in 0..<plan.rounds {
            try judgeEarly(paused[round], round: round, operation)
            for place in places.indices { try judgeEarly(arrived[index(place, round)], round: round, operation) }
        }
    }

    /// Refuses a frame of an exchange that this program has not come to, if it has passed that operation all the same.
    private func judgeEarly(_ header: FrameHeader?, round: Int, _ ours: CollectiveOperation?) throws(CollectiveError) {
        guard let header, header.slice >= submitted, header.operation < passed else { return }
        throw .differentKinds(header, from: plan.origin(round), ours, sequence: passed - 1)
    }

    // MARK: Receiving

    /// Says where the payload after a header from a round's origin belongs, or that it cannot be taken yet.
    package func landing(for header: FrameHeader, round: Int) throws(CollectiveError) -> Landing {
        guard Int(header.hop) == round else { throw violation(round, "round \(header.hop) of an exchange") }
        guard header.slice < started + UInt64(ExchangeProtocol.window) else {
            throw violation(round, "exchange \(header.slice), when \(started) is the next")
        }
        let placeIndex = Int(header.slice % UInt64(places.count))
        let place = places[placeIndex]
        paused[round] = nil
        if header.slice < started {
            guard let operation = place.operation, place.number == header.slice else {
                throw violation(round, "exchange \(header.slice), which has ended here")
            }
            try check(header, round: round, against: operation, place.sequence)
        } else {
            try judgeEarly(header, round: round, nil)
            if place.operation != nil {
                paused[round] = header
                return .pause
            }
        }
        let count = plan.blocks(round)
        let bytes = Int(header.payloadBytes)
        guard bytes > 0, bytes % count == 0, bytes / count <= longestBlock else {
            throw violation(round, "\(bytes) bytes for \(count) blocks")
        }
        guard place.taken & bit(round) == 0 else { throw violation(round, "exchange \(header.slice) twice") }
        places[placeIndex].taken |= bit(round)
        arrived[index(placeIndex, round)] = header
        landing[round] = header
        return .at(
            UnsafeMutableRawBufferPointer(
                start: memory(placeIndex) + plan.firstReceived(round) * (bytes / count), count: bytes))
    }

    /// The payload of the last header of a round that got a place has all arrived there.
    package func landed(round: Int) throws(CollectiveError) {
        guard let header = landing[round] else { preconditionFailure("no payload was landing") }
        landing[round] = nil
        bytesReceived += UInt64(header.payloadBytes)
        let placeIndex = Int(header.slice % UInt64(places.count))
        places[placeIndex].landed |= bit(round)
        if places[placeIndex].operation != nil { try advance(placeIndex) }
    }

    /// The send with this token has left; its memory is free.
    package func wrote(token: Int) throws(CollectiveError) {
        let placeIndex = token / plan.rounds
        precondition(places[placeIndex].writesLeft > 0, "a send that was never made has ended")
        places[placeIndex].writesLeft -= 1
        try advance(placeIndex)
    }

    // MARK: Starting, sending, ending

    private func startAll() throws(CollectiveError) {
        while started < submitted, places[Int(started % UInt64(places.count))].operation == nil {
            let position = Int(started % UInt64(queue.count))
            guard let (operation, sequence) = queue[position] else { preconditionFailure("nothing was submitted at \(position)") }
            queue[position] = nil
            try start(operation, sequence)
        }
    }

    private func start(_ operation: CollectiveOperation, _ sequence: UInt64) throws(CollectiveError) {
        let placeIndex = Int(started % UInt64(places.count))
        places[placeIndex].operation = operation
        places[placeIndex].sequence = sequence
        places[placeIndex].number = started
        started += 1
        for round in 0..<plan.rounds where places[placeIndex].taken & bit(round) != 0 {
            try check(arrived[index(placeIndex, round)]!, round: round, against: operation, sequence)
        }
        if plan.worldSize > 2 {
            memory(placeIndex).copyMemory(from: operation.source, byteCount: blockBytes(operation))
        }
        try advance(placeIndex)
    }

    /// Sends what may leave by now, and ends the exchange if nothing is left to send or to come.
    private func advance(_ placeIndex: Int) throws(CollectiveError) {
        guard let operation = places[placeIndex].operation else { return }
        while places[placeIndex].nextSend < plan.rounds {
            let round = places[placeIndex].nextSend
            guard plan.blocks(round) <= blocksKnown(places[placeIndex].landed) else { return }
            places[placeIndex].nextSend += 1
            send(placeIndex, operation, round: round)
        }
        guard places[placeIndex].landed == bit(plan.rounds) - 1, places[placeIndex].writesLeft == 0 else { return }
        combine(placeIndex, operation)
        let sequence = places[placeIndex].sequence
        places[placeIndex] = Place()
        for round in 0..<plan.rounds { arrived[index(placeIndex, round)] = nil }
        link.completed(sequence)
        try startAll()
        for round in 0..<plan.rounds where paused[round] != nil { link.resume(round: round) }
    }

    /// Blocks from 0 on without a gap.
    private func blocksKnown(_ landed: UInt32) -> Int {
        var known = 1
        for round in 0..<plan.rounds {
            guard landed & bit(round) != 0 else { break }
            known = plan.firstReceived(round) + plan.blocks(round)
        }
        return known
    }

    private func send(_ placeIndex: Int, _ operation: CollectiveOperation, round: Int) {
        // With two ranks nothing is sent but the source.
        let start = plan.worldSize == 2 ? operation.source : UnsafeRawPointer(memory(placeIndex))
        let body = UnsafeRawBufferPointer(start: start, count: plan.blocks(round) * blockBytes(operation))
        let token = index(placeIndex, round)
        let memory = headers + token * ExchangeProtocol.headerStride
        let header = FrameHeader(
            generation: generation, operation: places[placeIndex].sequence, slice: places[placeIndex].number, hop: UInt16(round),
            signature: operation.signature, payloadBytes: UInt32(body.count), elementCount: UInt64(operation.count))
        header.encode(into: memory)
        bytesSent += UInt64(body.count)
        places[placeIndex].writesLeft += 1
        let hasLeft = link.send(
            round: round, header: UnsafeRawBufferPointer(start: memory, count: header.headBytes), body: body, token: token)
        if hasLeft { places[placeIndex].writesLeft -= 1 }
    }

    /// All blocks are here and nothing is being sent any more: adds them in the order of the ranks, on every rank alike.
    private func combine(_ placeIndex: Int, _ operation: CollectiveOperation) {
        let reduction = operation.reduction
        func block(_ rank: Int) -> UnsafeMutableRawPointer {
            // The source is only read: it is the last or, with two ranks, one of the two that are finished into the result.
            if rank == plan.rank && plan.worldSize == 2 { return UnsafeMutableRawPointer(mutating: operation.source) }
            return memory(placeIndex) + plan.block(of: rank) * blockBytes(operation)
        }
        let sum = block(0)
        for rank in 1..<(plan.worldSize - 1) { reduction.add(block(rank), to: sum, count: operation.count) }
        reduction.finish(sum, block(plan.worldSize - 1), into: operation.result, count: operation.count)
    }

    // MARK: Arithmetic

    private func bit(_ round: Int) -> UInt32 { 1 << UInt32(round) }
    private func index(_ place: Int, _ round: Int) -> Int { place * plan.rounds + round }
    private func memory(_ place: Int) -> UnsafeMutableRawPointer { blocks + place * plan.worldSize * longestBlock }
    private func blockBytes(_ operation: CollectiveOperation) -> Int { operation.count * operation.reduction.partialBytes }

    private func check(
        _ header: FrameHeader, round: Int, against operation: CollectiveOperation, _ sequence: UInt64
    ) throws(CollectiveError) {
        guard operation.isMeant(by: header, sequence: sequence) else {
            throw .mismatch(header, from: plan.origin(round), operation, sequence: sequence)
        }
        guard Int(header.payloadBytes) == plan.blocks(round) * blockBytes(operation) else {
            throw violation(round, "\(header.payloadBytes) bytes for \(plan.blocks(round)) blocks of \(blockBytes(operation))")
        }
    }

    private func violation(_ round: Int, _ fault: String) -> CollectiveError {
        .protocolViolation(rank: plan.origin(round), fault: fault)
    }
}
