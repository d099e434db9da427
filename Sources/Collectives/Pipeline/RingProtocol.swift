import Wire

/// What the ring's protocol asks of its connections. The driver is `RingConnections`; the tests have one without sockets.
package protocol RingLink: AnyObject {
    /// Sends a header and a body to the right neighbour. Says true if both have left already; else they stay where they are
    /// until `RingProtocol.wrote(token)`, which is never called from within this call.
    func send(header: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, token: Int) -> Bool
    /// Reading from the left neighbour may go on, after `Landing.pause`.
    func resume()
    /// An operation has ended with its sum. Others before it may be under way, but none of the ring's.
    func completed(_ sequence: UInt64)
}

/// The ring's protocol: which bytes go where and when, without sockets, threads or clocks.
///
/// Operations are numbered in the order in which they are submitted, which every rank's program has in common. Their slices
/// (`RingPlan`) are numbered through, and at most `window` of them are under way at a time: slice g starts here when slice
/// g - window has ended here. That bounds the memory: a partial sum on its way lands in a slot of this rank's, of which there is
/// one for each slice of the window and each hop of the reduce-scatter, so that what a neighbour may send always has a place, even
/// if it belongs to an operation that this rank's program has not submitted yet. A sum lands in the caller's result at once.
///
/// No deadlock: take the lowest slice that has not ended on some rank. Every rank that has part in it starts it, since all before it
/// have ended; its frames then have slots. On a connection no frame stands before them that must wait for them: a rank sends what
/// belongs to slice g + window only when g has ended there, with all that it had to send for it. A slot that is still being sent
/// delays reading, and sending does not wait for reading.
///
/// Owns the slots, at most `RingLayout.slotBudgetBytes`, as much as two of them for what leaves smaller, and 128 bytes for each send under way,
/// allocated in init and never again. Confined to the thread that drives the link.
package final class RingProtocol<Link: RingLink> {
    /// A header and the zeros after it.
    private static var headerStride: Int { 2 * FrameHeader.byteCount }

    /// One place of the window: a slice under way, or none.
    private struct Place {
        var isBusy = false
        var slice: UInt64 = 0
        var operation = 0
        var receivesLeft = 0
        var writesLeft = 0
        /// The least hop that may arrive next: a neighbour sends a slice's hops in their order.
        var nextHop = 0
    }

    package let rank: Int
    package let worldSize: Int
    package let generation: UInt32
    /// Payload bytes received and sent since the beginning.
    package private(set) var bytesReceived: UInt64 = 0
    package private(set) var bytesSent: UInt64 = 0

    private unowned let link: Link
    private let layout: RingLayout
    private var queue = RingQueue()
    private var places = [Place](repeating: Place(), count: RingLayout.window)
    private var slots: SlotPool
    private let headers: UnsafeMutableRawPointer
    /// Where carriers that leave the source in a smaller form stand, for each place.
    private let shrunk: UnsafeMutableRawPointer
    private let packs: Bool
    /// All the program's operations below this have been submitted, here or elsewhere, as far as is known here.
    private var passed: UInt64 = 0
    private var landingHeader: FrameHeader?
    /// The header that waits for its place.
    private var paused: FrameHeader?
    /// Slots whose frames came before their slice had started.
    private var earlyFrames = 0

    /// - Parameter packs: carriers that do not leave as float32 leave in 48 bits where that loses nothing: a sixth of an exact sum's bytes, for
    ///   half a nanosecond an element at each hop. It pays on a wire, and not within a host. What comes in may be packed in any case.
    package init(rank: Int, worldSize: Int, generation: UInt32, packs: Bool, link: Link) {
        precondition(worldSize >= 2 && (0..<worldSize).contains(rank))
        self.rank = rank
        self.worldSize = worldSize
        self.generation = generation
        self.link = link
        layout = RingLayout(worldSize: worldSize)
        slots = SlotPool(count: layout.slotCount, bytes: layout.slotBytes)
        // SAFETY: freed in deinit. The link outlives every send, so that nothing is read after that.
        let headerBytes = layout.sendCount * RingProtocol.headerStride
        headers = .allocate(byteCount: headerBytes, alignment: 64)
        headers.initializeMemory(as: UInt8.self, repeating: 0, count: headerBytes)
        shrunk = .allocate(byteCount: RingLayout.window * layout.slotBytes, alignment: 4096)
        self.packs = packs
    }

    deinit {
        headers.deallocate()
        shrunk.deallocate()
    }

    /// Whether operations are under way: silence of the neighbours matters only then.
    package var isBusy: Bool { queue.isBusy }
    /// Sends that may be under way at a time.
    package var mostSends: Int { layout.sendCount }
    /// The longest payload that the neighbour may send.
    package var payloadLimit: Int { layout.slotBytes }

    /// Puts an operation in the queue, as the program's operation `sequence`, and starts what the window allows.
    package func submit(_ operation: CollectiveOperation, sequence: UInt64) throws(CollectiveError) {
        let plan = RingPlan(
            rank: rank, worldSize: worldSize, count: operation.count, segmentElements: layout.segmentElements(of: operation),
            pattern: operation.pattern, grain: operation.grain)
        queue.append(operation, plan, sequence: sequence)
        passed = sequence + 1
        try startSlices()
        // What has no elements has ended, and its neighbour may think otherwise.
        if plan.sliceCount == 0 { try judgeEarly(operation) }
        retireOperations()
    }

    /// The program's operation `sequence` is not the ring's here: a neighbour to whom it is runs another program.
    package func passed(_ operation: CollectiveOperation, sequence: UInt64) throws(CollectiveError) {
        passed = sequence + 1
        try judgeEarly(operation)
    }

    private func judgeEarly(_ ours: CollectiveOperation) throws(CollectiveError) {
        if let paused { try judge(paused, ours) }
        guard earlyFrames > 0 else { return }
        for slot in 0..<layout.slotCount where slots.state(slot) == .early || slots.state(slot) == .landing {
            try judge(slots.header(slot), ours)
        }
    }

    /// Refuses a frame of a slice that this program has not come to, if it has passed that operation all the same.
    private func judge(_ header: FrameHeader, _ ours: CollectiveOperation?) throws(CollectiveError) {
        guard header.slice >= queue.slicesSubmitted, header.operation < passed else { return }
        throw .differentKinds(header, from: leftRank, ours, sequence: passed - 1)
    }

    // MARK: Receiving

    /// Says where the payload after `header` belongs, or that it cannot be taken yet.
    package func landing(for header: FrameHeader) throws(CollectiveError) -> Landing {
        let hop = Int(header.hop)
        guard hop < layout.hopCount else { throw violation("hop \(hop) in a ring of \(worldSize)") }
        guard header.payloadBytes > 0 else { throw violation("an empty frame") }
        paused = nil
        if header.slice < queue.slicesStarted {
            return try landingOfStarted(header, hop: hop)
        }
        // The operation is ahead of this rank's program, or of its window.
        try judge(header, nil)
        // What is gathered has no slot; it waits until this rank has said where it belongs. And a neighbour that only sends in its
        // operations may be ahead by more than the window.
        guard hop < layout.firstGatherHop, header.slice - queue.slicesStarted < UInt64(RingLayout.window) else {
            paused = header
            return .pause
        }
        guard Int(header.payloadBytes) <= layout.slotBytes else { throw violation("a segment of \(header.payloadBytes) bytes") }
        let slot = layout.slot(place: layout.place(of: header.slice), hop: hop)
        guard !places[layout.place(of: header.slice)].isBusy else {
            paused = header
            return .pause
        }
        earlyFrames += 1
        return try .at(take(slot, for: header))
    }

    /// The payload of the last header that got a place has all arrived there.
    package func landed() throws(CollectiveError) {
        guard let header = landingHeader else { preconditionFailure("no payload was landing") }
        landingHeader = nil
        bytesReceived += UInt64(header.payloadBytes)
        let hop = Int(header.hop)
        let placeIndex = layout.place(of: header.slice)
        if hop < layout.firstGatherHop, header.slice >= queue.slicesStarted {
            slots.set(layout.slot(place: placeIndex, hop: hop), .early)
            return
        }
        take(placeIndex, hop: hop)
        try finishIfDone(placeIndex)
    }

    /// The send with this token has left; its memory is free.
    package func wrote(token: Int) throws(CollectiveError) {
        let (placeIndex, hop) = (layout.place(ofToken: token), layout.hop(ofToken: token))
        precondition(places[placeIndex].isBusy && places[placeIndex].writesLeft > 0, "a send that was never made has ended")
        release(placeIndex, hop: hop)
        try finishIfDone(placeIndex)
    }

    private func landingOfStarted(_ header: FrameHeader, hop: Int) throws(CollectiveError) -> Landing {
        let placeIndex = layout.place(of: header.slice)
        guard places[placeIndex].isBusy, places[placeIndex].slice == header.slice else {
            throw violation("slice \(header.slice), which has ended here")
        }
        let active = queue[places[placeIndex].operation]
        try check(header, against: active)
        guard active.plan.hops.contains(hop), hop >= places[placeIndex].nextHop else {
            throw violation("hop \(hop) of slice \(header.slice), out of order")
        }
        places[placeIndex].nextHop = hop + 1
        let segment = active.segment(receivedAt: hop, slice: header.slice)
        if hop < layout.firstGatherHop {
            try checkPartial(header, segment, active)
            return try .at(take(layout.slot(place: placeIndex, hop: hop), for: header))
        }
        let elementBytes = active.operation.reduction.resultBytes
        guard Int(header.payloadBytes) == segment.count * elementBytes else {
            throw violation("\(header.payloadBytes) bytes for \(segment.count) elements of \(elementBytes)")
        }
        landingHeader = header
        return .at(
            UnsafeMutableRawBufferPointer(
                start: active.operation.result + segment.lowerBound * elementBytes, count: segment.count * elementBytes))
    }

    /// Uses what has landed for a hop of a slice under way: adds and sends on, or ends the sum, or passes the sum on.
    private func take(_ placeIndex: Int, hop: Int) {
        places[placeIndex].receivesLeft -= 1
        let active = queue[places[placeIndex].operation]
        let reduction = active.operation.reduction
        let segment = active.segment(receivedAt: hop, slice: places[placeIndex].slice)
        guard hop < layout.firstGatherHop else {
            if active.plan.hops.contains(hop + 1) { send(placeIndex, active, hop: hop + 1) }
            return
        }
        let slot = layout.slot(place: placeIndex, hop: hop)
        let (partial, bytes) = (slots.memory(slot), Int(slots.header(slot).payloadBytes))
        let own = active.operation.source + segment.lowerBound * reduction.partialBytes
        if hop < layout.firstGatherHop - 1 {
            let bytes = reduction.add(own, toPayload: partial, bytes: bytes, count: segment.count, packs: packs)
            slots.setBytes(slot, bytes)
            slots.set(slot, .inUse)
        } else {
            let result = active.operation.result + segment.lowerBound * reduction.resultBytes
            reduction.finish(payload: partial, bytes: bytes, own, into: result, count: segment.count)
            slots.release(slot)
        }
        if active.plan.hops.contains(hop + 1) { send(placeIndex, active, hop: hop + 1) }
    }

    // MARK: Sending

    private func startSlices() throws(CollectiveError) {
        while queue.hasSlicesToStart, !places[layout.place(of: queue.slicesStarted)].isBusy {
            let (slice, position) = queue.startSlice()
            try start(slice, ofOperationAt: position)
        }
    }

    private func start(_ slice: UInt64, ofOperationAt position: Int) throws(CollectiveError) {
        let placeIndex = layout.place(of: slice)
        let active = queue[position]
        var expected = 0
        for hop in active.plan.hops where !active.segment(receivedAt: hop, slice: slice).isEmpty { expected += 1 }
        places[placeIndex] = Place(
            isBusy: true, slice: slice, operation: position, receivesLeft: expected, writesLeft: 0)
        send(placeIndex, active, hop: active.plan.hops.lowerBound)
        for hop in 0..<layout.firstGatherHop {
            let slot = layout.slot(place: placeIndex, hop: hop)
            guard slots.state(slot) == .early || slots.state(slot) == .landing else { continue }
            earlyFrames -= 1
            guard active.plan.hops.contains(hop) else { throw violation("hop \(hop) of slice \(slice), which has none") }
            let header = slots.header(slot)
            try check(header, against: active)
            try checkPartial(header, active.segment(receivedAt: hop, slice: slice), active)
            places[placeIndex].nextHop = hop + 1
            if slots.state(slot) == .early { take(placeIndex, hop: hop) }
        }
        try finishIfDone(placeIndex)
        resumeIfPaused()
    }

    /// Sends what this rank sends at a hop, if the segment has elements: from the source, from a slot, or from the result.
    private func send(_ placeIndex: Int, _ active: RingQueue.Entry, hop: Int) {
        let slice = places[placeIndex].slice
        let segment = active.segment(sentAt: hop, slice: slice)
        guard !segment.isEmpty else { return }
        let body = body(placeIndex, active, hop: hop, segment)
        let token = layout.token(place: placeIndex, hop: hop)
        let memory = headers + token * RingProtocol.headerStride
        let header = FrameHeader(
            generation: generation, operation: active.sequence, slice: slice, hop: UInt16(hop),
            signature: active.operation.signature, payloadBytes: UInt32(body.count),
            elementCount: UInt64(active.operation.count)
        )
        header.encode(into: memory)
        bytesSent += UInt64(body.count)
        places[placeIndex].writesLeft += 1
        let hasLeft = link.send(
            header: UnsafeRawBufferPointer(start: memory, count: header.headBytes), body: body, token: token)
        if hasLeft { release(placeIndex, hop: hop) }
    }

    private func body(_ placeIndex: Int, _ active: RingQueue.Entry, hop: Int, _ segment: Range<Int>) -> UnsafeRawBufferPointer {
        let reduction = active.operation.reduction
        guard hop < layout.firstGatherHop else {
            let bytes = reduction.resultBytes
            return UnsafeRawBufferPointer(
                start: active.operation.result + segment.lowerBound * bytes, count: segment.count * bytes)
        }
        guard hop == 0 else {
            let slot = layout.slot(place: placeIndex, hop: hop - 1)
            return UnsafeRawBufferPointer(start: slots.memory(slot), count: Int(slots.header(slot).payloadBytes))
        }
        let source = active.operation.source + segment.lowerBound * reduction.partialBytes
        let memory = shrunk + placeIndex * layout.slotBytes
        if let bytes = reduction.shrink(source, into: memory, count: segment.count, packs: packs) {
            return UnsafeRawBufferPointer(start: memory, count: bytes)
        }
        return UnsafeRawBufferPointer(start: source, count: segment.count * reduction.partialBytes)
    }

    /// The send of a hop no longer needs its memory.
    private func release(_ placeIndex: Int, hop: Int) {
        places[placeIndex].writesLeft -= 1
        // What hop h of the reduce-scatter sends on came in at hop h - 1.
        if hop >= 1, hop < layout.firstGatherHop {
            slots.release(layout.slot(place: placeIndex, hop: hop - 1))
        }
    }

    // MARK: Ending

    private func finishIfDone(_ placeIndex: Int) throws(CollectiveError) {
        guard places[placeIndex].isBusy, places[placeIndex].receivesLeft == 0, places[placeIndex].writesLeft == 0 else { return }
        places[placeIndex].isBusy = false
        queue.endSlice(at: places[placeIndex].operation)
        retireOperations()
        try startSlices()
        resumeIfPaused()
    }

    /// What could not be taken may find its place now.
    private func resumeIfPaused() {
        guard paused != nil else { return }
        link.resume()
    }

    private func retireOperations() {
        while let sequence = queue.takeEnded() { link.completed(sequence) }
    }

    // MARK: Checking

    /// A place in a slot for the payload of a header.
    private func take(_ slot: Int, for header: FrameHeader) throws(CollectiveError) -> UnsafeMutableRawBufferPointer {
        guard slots.state(slot) == .free else { throw violation("hop \(header.hop) of slice \(header.slice) twice") }
        landingHeader = header
        return UnsafeMutableRawBufferPointer(start: slots.take(slot, for: header), count: Int(header.payloadBytes))
    }

    private func check(_ header: FrameHeader, against active: RingQueue.Entry) throws(CollectiveError) {
        guard active.operation.isMeant(by: header, sequence: active.sequence) else {
            throw .mismatch(header, from: leftRank, active.operation, sequence: active.sequence)
        }
    }

    private func checkPartial(_ header: FrameHeader, _ segment: Range<Int>, _ active: RingQueue.Entry) throws(CollectiveError) {
        guard active.operation.reduction.isPayload(bytes: Int(header.payloadBytes), ofPartials: segment.count) else {
            throw violation("\(header.payloadBytes) bytes for \(segment.count) elements at hop \(header.hop) of slice \(header.slice)")
        }
    }

    private var leftRank: Int { (rank + worldSize - 1) % worldSize }

    private func violation(_ fault: String) -> CollectiveError {
        .protocolViolation(rank: leftRank, fault: fault)
    }
}
