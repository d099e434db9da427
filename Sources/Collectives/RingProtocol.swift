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
/// No deadlock: take the lowest slice that has not ended on some rank. All ranks have started it, so all its frames have slots; and
/// no frame of a slice beyond the window can stand before one of them, since its sender must have ended this slice first. A slot
/// that is still being sent delays reading, and sending does not wait for reading.
///
/// Owns the slots and headers, at most `slotBudgetBytes` and 128 bytes for each send under way, allocated in init and never again.
/// Confined to the thread that drives the link.
package final class RingProtocol<Link: RingLink> {
    package static var window: Int { 8 }
    package static var slotBudgetBytes: Int { 8 << 20 }
    /// A header and the zeros after it.
    static var headerStride: Int { 2 * FrameHeader.byteCount }
    static var largestSegmentBytes: Int { 256 << 10 }
    static var smallestSegmentBytes: Int { 128 << 10 }

    private struct Active {
        var operation: CollectiveOperation
        var plan: RingPlan
        var sequence: UInt64
        var firstSlice: UInt64
        var slicesLeft: Int
    }

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
    package let slotBytes: Int
    /// Payload bytes received and sent since the beginning.
    package private(set) var bytesReceived: UInt64 = 0
    package private(set) var bytesSent: UInt64 = 0
    /// The ring's own operations that were submitted, and that have ended, in order.
    private var submitted: UInt64 = 0
    private var completed: UInt64 = 0
    /// All the program's operations below this have been submitted, here or elsewhere, as far as is known here.
    private var passed: UInt64 = 0

    private unowned let link: Link
    private var slots: SlotPool
    private let slotCount: Int
    private let headers: UnsafeMutableRawPointer
    private var places = [Place](repeating: Place(), count: RingProtocol.window)
    /// A circle of the operations under way, `completed ..< submitted`, at their number modulo its count.
    private var operations: [Active?] = Array(repeating: nil, count: CollectiveOperation.mostUnderWay)
    /// Slices of submitted operations, and those of them that have started.
    private var slicesSubmitted: UInt64 = 0
    private var slicesStarted: UInt64 = 0
    private var operationToStart: UInt64 = 0
    private var landingHeader: FrameHeader?
    /// The header that waits for its place.
    private var paused: FrameHeader?
    /// Slots whose frames came before their slice had started.
    private var earlyFrames = 0

    package init(rank: Int, worldSize: Int, generation: UInt32, link: Link) {
        precondition(worldSize >= 2 && (0..<worldSize).contains(rank))
        self.rank = rank
        self.worldSize = worldSize
        self.generation = generation
        self.link = link
        let window = RingProtocol.window
        slotCount = window * (worldSize - 1)
        slotBytes = min(
            RingProtocol.largestSegmentBytes, max(64, RingProtocol.slotBudgetBytes / slotCount & ~63))
        slots = SlotPool(count: slotCount, bytes: slotBytes)
        // SAFETY: freed in deinit. The link outlives every send, so that nothing is read after that.
        let headerBytes = window * 2 * (worldSize - 1) * RingProtocol.headerStride
        headers = .allocate(byteCount: headerBytes, alignment: 64)
        headers.initializeMemory(as: UInt8.self, repeating: 0, count: headerBytes)
    }

    deinit {
        headers.deallocate()
    }

    /// Whether operations are under way: silence of the neighbours matters only then.
    package var isBusy: Bool { completed < submitted }
    /// Sends that may be under way at a time.
    package var mostSends: Int { RingProtocol.window * 2 * (worldSize - 1) }

    /// Puts an operation in the queue, as the program's operation `sequence`, and starts what the window allows.
    package func submit(_ operation: CollectiveOperation, sequence: UInt64) throws(CollectiveError) {
        precondition(submitted - completed < UInt64(operations.count), "more than \(operations.count) operations under way")
        let plan = RingPlan(
            rank: rank, worldSize: worldSize, count: operation.count, segmentElements: segmentElements(of: operation),
            pattern: operation.pattern)
        operations[position(submitted)] = Active(
            operation: operation, plan: plan, sequence: sequence, firstSlice: slicesSubmitted, slicesLeft: plan.sliceCount)
        submitted += 1
        slicesSubmitted += UInt64(plan.sliceCount)
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
        for slot in 0..<slotCount where slots.state(slot) == .early || slots.state(slot) == .landing {
            try judge(slots.header(slot), ours)
        }
    }

    /// Refuses a frame of a slice that this program has not come to, if it has passed that operation all the same.
    private func judge(_ header: FrameHeader, _ ours: CollectiveOperation?) throws(CollectiveError) {
        guard header.slice >= slicesSubmitted, header.operation < passed else { return }
        throw .differentKinds(header, from: leftRank, ours, sequence: passed - 1)
    }

    // MARK: Receiving

    /// Says where the payload after `header` belongs, or that it cannot be taken yet.
    package func landing(for header: FrameHeader) throws(CollectiveError) -> Landing {
        let hop = Int(header.hop)
        guard hop < 2 * (worldSize - 1) else { throw violation("hop \(hop) in a ring of \(worldSize)") }
        guard header.payloadBytes > 0 else { throw violation("an empty frame") }
        paused = nil
        if header.slice < slicesStarted {
            return try landingOfStarted(header, hop: hop)
        }
        // The operation is ahead of this rank's program, or of its window.
        guard header.slice < slicesStarted + UInt64(RingProtocol.window) else {
            throw violation("slice \(header.slice), when \(slicesStarted) is the next")
        }
        try judge(header, nil)
        guard hop < worldSize - 1 else {
            // What is gathered has no slot; it waits until this rank has said where it belongs.
            paused = header
            return .pause
        }
        guard Int(header.payloadBytes) <= slotBytes else { throw violation("a segment of \(header.payloadBytes) bytes") }
        let slot = slotIndex(place: place(of: header.slice), hop: hop)
        guard !places[place(of: header.slice)].isBusy else {
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
        let placeIndex = place(of: header.slice)
        if hop < worldSize - 1, header.slice >= slicesStarted {
            slots.set(slotIndex(place: placeIndex, hop: hop), .early)
            return
        }
        take(placeIndex, hop: hop)
        try finishIfDone(placeIndex)
    }

    /// The send with this token has left; its memory is free.
    package func wrote(token: Int) throws(CollectiveError) {
        let hopCount = 2 * (worldSize - 1)
        let (placeIndex, hop) = (token / hopCount, token % hopCount)
        precondition(places[placeIndex].isBusy && places[placeIndex].writesLeft > 0, "a send that was never made has ended")
        release(placeIndex, hop: hop)
        try finishIfDone(placeIndex)
    }

    private func landingOfStarted(_ header: FrameHeader, hop: Int) throws(CollectiveError) -> Landing {
        let placeIndex = place(of: header.slice)
        guard places[placeIndex].isBusy, places[placeIndex].slice == header.slice else {
            throw violation("slice \(header.slice), which has ended here")
        }
        let active = operation(at: places[placeIndex].operation)
        try check(header, against: active)
        guard active.plan.hops.contains(hop), hop >= places[placeIndex].nextHop else {
            throw violation("hop \(hop) of slice \(header.slice), out of order")
        }
        places[placeIndex].nextHop = hop + 1
        let segment = segment(received: hop, of: active, slice: header.slice)
        let elementBytes = hop < worldSize - 1 ? active.operation.reduction.partialBytes : active.operation.reduction.resultBytes
        guard Int(header.payloadBytes) == segment.count * elementBytes else {
            throw violation("\(header.payloadBytes) bytes for \(segment.count) elements of \(elementBytes)")
        }
        if hop < worldSize - 1 { return try .at(take(slotIndex(place: placeIndex, hop: hop), for: header)) }
        landingHeader = header
        return .at(
            UnsafeMutableRawBufferPointer(
                start: active.operation.result + segment.lowerBound * elementBytes, count: segment.count * elementBytes))
    }

    /// Uses what has landed for a hop of a slice under way: adds and sends on, or ends the sum, or passes the sum on.
    private func take(_ placeIndex: Int, hop: Int) {
        places[placeIndex].receivesLeft -= 1
        let active = operation(at: places[placeIndex].operation)
        let reduction = active.operation.reduction
        let segment = segment(received: hop, of: active, slice: places[placeIndex].slice)
        guard hop < worldSize - 1 else {
            if active.plan.hops.contains(hop + 1) { send(placeIndex, active, hop: hop + 1) }
            return
        }
        let slot = slotIndex(place: placeIndex, hop: hop)
        let partial = slots.memory(slot)
        let own = active.operation.source + segment.lowerBound * reduction.partialBytes
        if hop < worldSize - 2 {
            reduction.add(own, to: partial, count: segment.count)
            slots.set(slot, .inUse)
        } else {
            let result = active.operation.result + segment.lowerBound * reduction.resultBytes
            reduction.finish(partial, own, into: result, count: segment.count)
            slots.release(slot)
        }
        if active.plan.hops.contains(hop + 1) { send(placeIndex, active, hop: hop + 1) }
    }

    // MARK: Sending

    private func startSlices() throws(CollectiveError) {
        while slicesStarted < slicesSubmitted, !places[place(of: slicesStarted)].isBusy {
            let slice = slicesStarted
            while slice >= operation(at: position(operationToStart)).firstSlice
                + UInt64(operation(at: position(operationToStart)).plan.sliceCount)
            {
                operationToStart += 1
            }
            slicesStarted += 1
            try start(slice)
        }
    }

    private func start(_ slice: UInt64) throws(CollectiveError) {
        let placeIndex = place(of: slice)
        let active = operation(at: position(operationToStart))
        var expected = 0
        for hop in active.plan.hops where !segment(received: hop, of: active, slice: slice).isEmpty { expected += 1 }
        places[placeIndex] = Place(
            isBusy: true, slice: slice, operation: position(operationToStart), receivesLeft: expected, writesLeft: 0)
        send(placeIndex, active, hop: active.plan.hops.lowerBound)
        for hop in 0..<(worldSize - 1) {
            let slot = slotIndex(place: placeIndex, hop: hop)
            guard slots.state(slot) == .early || slots.state(slot) == .landing else { continue }
            earlyFrames -= 1
            guard active.plan.hops.contains(hop) else { throw violation("hop \(hop) of slice \(slice), which has none") }
            let header = slots.header(slot)
            try check(header, against: active)
            guard segment(received: hop, of: active, slice: slice).count * active.operation.reduction.partialBytes
                == Int(header.payloadBytes)
            else { throw violation("a segment of \(header.payloadBytes) bytes at hop \(hop) of slice \(slice)") }
            places[placeIndex].nextHop = hop + 1
            if slots.state(slot) == .early { take(placeIndex, hop: hop) }
        }
        try finishIfDone(placeIndex)
        resumeIfPaused()
    }

    /// Sends what this rank sends at a hop, if the segment has elements: from the source, from a slot, or from the result.
    private func send(_ placeIndex: Int, _ active: Active, hop: Int) {
        let slice = places[placeIndex].slice
        let segment = active.plan.segment(
            chunk: active.plan.chunkSent(hop: hop), slice: Int(slice - active.firstSlice))
        guard !segment.isEmpty else { return }
        let reduction = active.operation.reduction
        let body: UnsafeRawBufferPointer
        if hop == 0 {
            let bytes = reduction.partialBytes
            body = UnsafeRawBufferPointer(
                start: active.operation.source + segment.lowerBound * bytes, count: segment.count * bytes)
        } else if hop < worldSize - 1 {
            body = UnsafeRawBufferPointer(
                start: slots.memory(slotIndex(place: placeIndex, hop: hop - 1)), count: segment.count * reduction.partialBytes)
        } else {
            let bytes = reduction.resultBytes
            body = UnsafeRawBufferPointer(
                start: active.operation.result + segment.lowerBound * bytes, count: segment.count * bytes)
        }
        let token = placeIndex * 2 * (worldSize - 1) + hop
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

    /// The send of a hop no longer needs its memory.
    private func release(_ placeIndex: Int, hop: Int) {
        places[placeIndex].writesLeft -= 1
        // What hop h of the reduce-scatter sends on came in at hop h - 1.
        if hop >= 1, hop < worldSize - 1 {
            slots.release(slotIndex(place: placeIndex, hop: hop - 1))
        }
    }

    // MARK: Ending

    private func finishIfDone(_ placeIndex: Int) throws(CollectiveError) {
        guard places[placeIndex].isBusy, places[placeIndex].receivesLeft == 0, places[placeIndex].writesLeft == 0 else { return }
        places[placeIndex].isBusy = false
        operations[places[placeIndex].operation]!.slicesLeft -= 1
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
        while completed < submitted, operation(at: position(completed)).slicesLeft == 0 {
            let sequence = operation(at: position(completed)).sequence
            operations[position(completed)] = nil
            completed += 1
            operationToStart = max(operationToStart, completed)
            link.completed(sequence)
        }
    }

    // MARK: Arithmetic

    private func position(_ sequence: UInt64) -> Int { Int(sequence % UInt64(operations.count)) }
    private func place(of slice: UInt64) -> Int { Int(slice % UInt64(RingProtocol.window)) }
    private func slotIndex(place: Int, hop: Int) -> Int { place * (worldSize - 1) + hop }

    /// A place in a slot for the payload of a header.
    private func take(_ slot: Int, for header: FrameHeader) throws(CollectiveError) -> UnsafeMutableRawBufferPointer {
        guard slots.state(slot) == .free else { throw violation("hop \(header.hop) of slice \(header.slice) twice") }
        landingHeader = header
        return UnsafeMutableRawBufferPointer(start: slots.take(slot, for: header), count: Int(header.payloadBytes))
    }

    private func operation(at position: Int) -> Active {
        guard let active = operations[position] else { preconditionFailure("no operation under way at \(position)") }
        return active
    }

    private func segment(received hop: Int, of active: Active, slice: UInt64) -> Range<Int> {
        active.plan.segment(chunk: active.plan.chunkReceived(hop: hop), slice: Int(slice - active.firstSlice))
    }

    /// Four segments a chunk keep both directions of both neighbours busy; a slot bounds them, and small ones do not pay.
    private func segmentElements(of operation: CollectiveOperation) -> Int {
        let bytes = operation.reduction.partialBytes
        let largestChunk = RingPlan.largestChunk(of: operation.count, worldSize: worldSize, operation.pattern)
        let wanted = max(largestChunk * bytes / 4, RingProtocol.smallestSegmentBytes)
        return max(1, min(wanted, slotBytes) / bytes)
    }

    private func check(_ header: FrameHeader, against active: Active) throws(CollectiveError) {
        guard active.operation.isMeant(by: header, sequence: active.sequence) else {
            throw .mismatch(header, from: leftRank, active.operation, sequence: active.sequence)
        }
    }

    private var leftRank: Int { (rank + worldSize - 1) % worldSize }

    private func violation(_ fault: String) -> CollectiveError {
        .protocolViolation(rank: leftRank, fault: fault)
    }
}
