import Collectives
import Membership
import Wire

/// A process of a simulation: the program, and what `Ring` and its threads do in a real one.
///
/// The program: so many sections, of which each adds a known sum, shared out among the members, to a state; every third is not open.
/// Then the section of all, and leaving.
final class SimulatedWorker: CustomStringConvertible {
    enum Ending: Equatable {
        /// It left, and all others have.
        case finished
        /// It left because it was ordered to stop.
        case stopped
        case departed
        /// The coordinator sent it away, or is lost to it.
        case excluded
        case stateLost
        case killed
    }

    enum Phase: Equatable {
        case connecting, preparing, joining, forming
        case comparing, copyingValues, copyingState
        case computing, working
        case leaving, ended
    }

    let rank: Int
    let name: String
    unowned let simulation: Simulation
    private(set) var phase = Phase.connecting
    private(set) var ending: Ending?
    var isFrozen = false
    var wasFenced = false
    /// Where it takes connections; 0 where it takes none.
    private(set) var port: UInt16 = 0

    // What a process has that Ring and its parts have.
    private var member: MemberProtocol
    private var news = News()
    private var recovery = Recovery()
    /// When the member's deadline is next looked at.
    private var tickAt: Duration?
    private var link: Simulation.ControlLink!
    private var inbox: [() throws -> Void] = []

    // The generation at hand.
    private var announcement: RingAnnouncement?
    private var members: [UInt32] = []
    private var place = 0
    private var worldSize: Int { members.count }
    private var lines: (left: SimulatedRing.Line?, right: SimulatedRing.Line?)
    private var held: [SimulatedRing.Line] = []
    private var ring: SimulatedRing?
    /// Frames that come before this side is formed.
    private var early: [(head: [UInt8], body: [UInt8])] = []
    private var epoch = 0

    // The operation at hand.
    private var memory = UnsafeMutableBufferPointer<Int64>(start: nil, count: 0)
    private var copy = (source: 0, keptCount: 0, withState: false, isTaken: false)
    private var copiedValues: [Int64] = []

    // The program.
    private var state: [Int64]
    private var kept: [Int64] = []
    private var isNewcomer = false
    private var isInSection = false
    private var isReformAgreed = false
    private var isStopAgreed = false
    private var progressAtFormation = 0

    init(rank: Int, number: Int, simulation: Simulation) {
        self.rank = rank
        self.simulation = simulation
        name = "\(rank)#\(number)"
        member = MemberProtocol(rank: rank, coordinator: "coordinator", waitLimit: Simulation.waitLimit)
        state = [Int64](repeating: 0, count: simulation.plan.elements)
    }

    deinit {
        memory.deallocate()
    }

    var hasEnded: Bool { ending != nil }
    var description: String { "\(name) \(phase) \(ending.map { "\($0)" } ?? "") generation \(recovery.generation) progress \(recovery.progress)" }

    // MARK: Being a process

    func start() throws {
        link = simulation.connect(self)
        later(simulation.latency()) { [unowned self] in try begin(isOpen: false, isBoundary: false) }
    }

    /// Does something in this process: at once, or when it wakes.
    func deliver(_ action: @escaping () throws -> Void) throws {
        if hasEnded { return }
        if isFrozen { return inbox.append(action) }
        try action()
    }

    func later(_ delay: Duration, _ action: @escaping () throws -> Void) {
        simulation.clock.at(simulation.clock.now + delay) { [weak self] in try self?.deliver(action) }
    }

    func wake() throws {
        guard isFrozen, !hasEnded else { return }
        isFrozen = false
        let all = inbox
        inbox = []
        for action in all { try deliver(action) }
    }

    func die() {
        end(.killed)
    }

    private func end(_ ending: Ending) {
        guard !hasEnded else { return }
        simulation.note("\(name) ends: \(ending)")
        phase = .ended
        stopRing()
        self.ending = ending
        if let link { simulation.closed(link) }
    }

    func cutRing() {
        guard let line = lines.right else { return }
        endLine(line, told: line.from)
        endLine(line, told: line.to)
    }

    func stallRing() {
        lines.right?.isStalled = true
    }

    /// Both sides find the connection closed.
    func cutControl() {
        simulation.closed(link)
        later(simulation.latency()) { [unowned self] in try controlEnded(link) }
    }

    // MARK: Hearing

    func receive(_ message: ControlMessage, over link: Simulation.ControlLink) throws {
        try tell(.said(message))
    }

    func controlEnded(_ link: Simulation.ControlLink) throws {
        try tell(.connectionEnded(cause: "closed"))
    }

    private func tell(_ event: MemberProtocol.Event) throws {
        for action in member.receive(event, at: simulation.clock.now) {
            switch action {
            case .send(let message): simulation.send(message, over: link)
            case .close: simulation.closed(link)
            case .findSuccessor: throw Simulation.Failure(description: "\(name) looks for a coordinator where a launcher has it")
            case .tell(let notice):
                news.receive(.told(notice, completed: 0, bytesMoved: 0))
                try heard()
            }
        }
        scheduleTick()
    }

    private func scheduleTick() {
        guard let deadline = member.nextDeadline, deadline < tickAt ?? .seconds(1_000_000) else { return }
        tickAt = deadline
        later(deadline - simulation.clock.now) { [unowned self] in
            guard tickAt == deadline else { return }
            tickAt = nil
            if let next = member.nextDeadline, next <= simulation.clock.now { try tell(.tick) } else { scheduleTick() }
        }
    }

    /// What the compute thread wakes up for.
    private func heard() throws {
        switch phase {
        case .joining:
            if let answer = news.answer {
                phase = .preparing
                try recover(answer)
            } else if let failure = news.failure {
                try recover(.failed(failure))
            }
        case .leaving:
            if news.isOver { end(isStopAgreed ? .stopped : .finished) } else if news.exclusion != nil { end(.excluded) }
        case .forming, .comparing, .copyingValues, .copyingState, .working:
            if news.failure != nil { try failed() }
        case .connecting, .preparing, .computing, .ended:
            break
        }
    }

    private func fail(_ error: CollectiveError) throws {
        news.receive(.ringFailed(error))
        try heard()
    }

    /// An operation, or the formation, has failed.
    private func failed() throws {
        let isMendable = (news.failure as? CollectiveError)?.isRingFailure ?? false
        if phase != .working {
            return try recover(isMendable ? .broken : .failed(news.failure!))
        }
        guard isMendable else { return endFailed(news.failure!) }
        try begin(isOpen: isOpen, isBoundary: false)
    }

    private func endFailed(_ error: any Error) {
        simulation.note("\(name): \(error)")
        end((error as? CollectiveError) == .stateLost ? .stateLost : .excluded)
    }

    // MARK: Recovery

    private func begin(isOpen: Bool, isBoundary: Bool) throws {
        try recover(.begin(isOpen: isOpen, isBoundary: isBoundary))
    }

    private func recover(_ event: Recovery.Event) throws {
        for action in recovery.receive(event) { try perform(action) }
    }

    private func perform(_ action: Recovery.Action) throws {
        switch action {
        case .join(let generation, let isOpen, let isBoundary, let complaint):
            try join(generation, isOpen, isBoundary, complaint)
        case .form(let announcement): try form(announcement)
        case .compare: try compare()
        case .copy(let source, let keptCount, let withState, let isTaken):
            copy = (source, keptCount, withState, isTaken)
            try operate(.copyingValues, source == place ? kept : [Int64](repeating: 0, count: keptCount), .broadcast(root: source))
        case .resume(let wasBehind): try resume(wasBehind: wasBehind)
        case .prepare:
            stopRing()
            isNewcomer = true
            later(simulation.chance(of: .milliseconds(30))) { [unowned self] in try begin(isOpen: true, isBoundary: true) }
        case .depart:
            end(.departed)
        case .fail(let error): endFailed(error)
        }
    }

    private func join(_ generation: UInt32, _ isOpen: Bool, _ isBoundary: Bool, _ complaint: Recovery.Complaint?) throws {
        stopRing()
        news.receive(.generationBegan)
        port = UInt16(truncatingIfNeeded: Int.random(in: 1...65_000, using: &simulation.generator))
        phase = .joining
        if let complaint { simulation.send(.complain(rank: UInt32(complaint.rank), cause: complaint.cause), over: link) }
        let address = MemberAddress(rank: UInt32(rank), host: "host", port: port, hostName: "host", processID: 1)
        try tell(
            .join(.init(
                generation: generation, isOpen: isOpen, isBoundary: isBoundary, worldSize: UInt32(simulation.plan.workers),
                member: address)))
        try heard()
    }

    private func stopRing() {
        epoch += 1
        ring?.stop()
        ring = nil
        early = []
        port = 0
        for line in [lines.left, lines.right].compactMap({ $0 }) + held { endLine(line, told: line.from === self ? line.to : line.from) }
        lines = (nil, nil)
        held = []
        announcement = nil
    }

    // MARK: Forming

    private func form(_ announcement: RingAnnouncement) throws {
        try simulation.heard(of: announcement, self)
        self.announcement = announcement
        members = announcement.members.map(\.rank)
        place = members.firstIndex(of: UInt32(rank))!
        phase = .forming
        if worldSize == 1 { return try recover(.formed) }
        let epoch = epoch
        later(Simulation.formationLimit) { [unowned self] in
            guard self.epoch == epoch, phase == .forming else { return }
            let missing = lines.right == nil ? members[(place + 1) % worldSize] : members[(place + worldSize - 1) % worldSize]
            try recover(.notFormed(rank: Int(missing), cause: "not there in time"))
        }
        callRight()
        let all = held
        held = []
        for line in all { try called(line) }
    }

    private func callRight() {
        let neighbour = announcement!.members[(place + 1) % worldSize]
        let epoch = epoch
        simulation.clock.at(simulation.clock.now + simulation.latency()) { [unowned self] in
            guard self.epoch == epoch, !hasEnded else { return }
            guard let other = simulation.process(rank: Int(neighbour.rank), port: neighbour.port) else {
                return later(.milliseconds(20)) { [unowned self] in if self.epoch == epoch { callRight() } }
            }
            let line = SimulatedRing.Line(from: self, to: other, generation: recovery.generation)
            try other.deliver { try other.called(line) }
        }
    }

    /// Somebody connects with this worker's port.
    private func called(_ line: SimulatedRing.Line) throws {
        guard !line.hasEnded else { return }
        if phase == .joining { return held.append(line) }
        let neighbour = members.isEmpty ? nil : members[(place + worldSize - 1) % worldSize]
        guard phase == .forming, line.generation == recovery.generation, neighbour == UInt32(line.from.rank), lines.left == nil else {
            return endLine(line, told: line.from)
        }
        lines.left = line
        simulation.clock.at(simulation.clock.now + simulation.latency()) {
            try line.from.deliver { try line.from.answered(line) }
        }
        try formIfComplete()
    }

    /// The right neighbour has taken the connection.
    private func answered(_ line: SimulatedRing.Line) throws {
        guard phase == .forming, line.generation == recovery.generation, lines.right == nil else {
            return endLine(line, told: line.to)
        }
        lines.right = line
        try formIfComplete()
    }

    private func formIfComplete() throws {
        guard let left = lines.left, let right = lines.right else { return }
        ring = SimulatedRing(
            worker: self, left: left, right: right, place: place, worldSize: worldSize, generation: recovery.generation)
        phase = .preparing
        try recover(.formed)
        if left.hasEnded || right.hasEnded { try lost(left.hasEnded ? left : right) }
        guard let ring else { return }
        let all = early
        early = []
        for frame in all where !ring.isStopped { try ring.receive(frame.head, frame.body) }
        try operationMayHaveEnded()
    }

    /// A connection ends; `told` notices after a while, and after what was under way.
    private func endLine(_ line: SimulatedRing.Line, told: SimulatedWorker) {
        line.hasEnded = true
        guard !line.isStalled else { return }
        var at = line.lastArrival
        let time = simulation.arrival(after: &at)
        // A reset may overtake what was under way.
        if Bool.random(using: &simulation.generator) { line.lastArrival = max(line.lastArrival, time) }
        simulation.clock.at(time) { try told.deliver { try told.lost(line) } }
    }

    private func lost(_ line: SimulatedRing.Line) throws {
        if lines.left === line || lines.right === line {
            let other = line.from === self ? line.to : line.from
            if phase == .forming {
                // It was made, and is gone before the ring is whole.
                return try fail(.peerLost(rank: other.rank, host: "host", operation: 0, bytesMoved: 0, cause: "closed"))
            }
            guard ring != nil else { return }
            try fail(.peerLost(rank: other.rank, host: "host", operation: 0, bytesMoved: 0, cause: "closed"))
        } else if line.from === self, phase == .forming, lines.right == nil {
            let epoch = epoch
            later(.milliseconds(20)) { [unowned self] in if self.epoch == epoch, phase == .forming, lines.right == nil { callRight() } }
        }
    }

    // MARK: Operations

    func frame(_ head: [UInt8], _ body: [UInt8], over line: SimulatedRing.Line) throws {
        guard line === lines.left else { return }
        guard let ring else { return early.append((head, body)) }
        guard !ring.isStopped else { return }
        try ring.receive(head, body)
        try operationMayHaveEnded()
    }

    private func operate(_ phase: Phase, _ values: [Int64], _ pattern: RingPlan.Pattern) throws {
        self.phase = phase
        memory.deallocate()
        memory = .allocate(capacity: max(1, values.count))
        _ = memory.initialize(from: values)
        if news.failure != nil { return try failed() }
        guard let ring else { return try operationEnded() }
        ring.hasCompleted = false
        let pointer = UnsafeMutableRawPointer(memory.baseAddress!)
        watch(ring, bytes: ring.bytesMoved)
        try ring.submit(
            CollectiveOperation(
                reduction: Reduction(.int64), source: pointer, result: pointer, count: values.count, pattern: pattern))
        try operationMayHaveEnded()
    }

    /// Whoever waits for the whole time-out gives the ring up.
    private func watch(_ ring: SimulatedRing, bytes: UInt64) {
        let (epoch, phase, progress) = (epoch, phase, recovery.progress)
        later(Simulation.timeout) { [unowned self] in
            guard self.epoch == epoch, self.phase == phase, recovery.progress == progress else { return }
            if ring.bytesMoved != bytes { return watch(ring, bytes: ring.bytesMoved) }
            let left = members[(place + worldSize - 1) % worldSize]
            try fail(
                .noProgress(
                    rank: rank, waitingFor: Int(left), host: "host", operation: 0, bytesMoved: bytes, limit: Simulation.timeout))
        }
    }

    func operationMayHaveEnded() throws {
        guard let ring, ring.hasCompleted else { return }
        ring.hasCompleted = false
        try operationEnded()
    }

    private func operationEnded() throws {
        let values = Array(memory)
        switch phase {
        case .comparing:
            let reports = (0..<worldSize).map {
                Recovery.Report(progress: Int(values[3 * $0]), keptCount: Int(values[3 * $0 + 1]), hasState: values[3 * $0 + 2] != 0)
            }
            try recover(.compared(reports))
        case .copyingValues:
            copiedValues = Array(values.prefix(copy.keptCount))
            guard copy.withState else { return try copied() }
            try operate(.copyingState, place == copy.source ? state : state.map { _ in 0 }, .broadcast(root: copy.source))
        case .copyingState:
            if copy.isTaken { state = values }
            try copied()
        case .working: try workEnded(values)
        default: throw Simulation.Failure(description: "\(name): an operation ended in phase \(phase)")
        }
    }

    private func compare() throws {
        var reports = [Int64](repeating: 0, count: worldSize * 3)
        reports[place * 3] = Int64(recovery.progress)
        reports[place * 3 + 1] = Int64(kept.count)
        reports[place * 3 + 2] = 1
        try operate(.comparing, reports, .allGather())
    }

    private func copied() throws {
        if copy.isTaken { kept = copiedValues }
        phase = .preparing
        try recover(.copied)
    }

    // MARK: The program

    private static let items = 12

    private func isOpen(_ section: Int) -> Bool { section % 3 != 2 && section < simulation.plan.sections }
    private var isOpen: Bool { isOpen(recovery.progress) && !isStopAgreed }

    private static func value(_ item: Int, _ section: Int, _ index: Int) -> Int64 {
        Int64(item + 1) * Int64(section * section + 1) * Int64(index + 3)
    }

    private func expectedState(_ progress: Int) -> [Int64] {
        let sections = 0..<min(progress, simulation.plan.sections)
        return state.indices.map { index in
            sections.reduce(0) { sum, section in
                (0..<SimulatedWorker.items).reduce(sum) { $0 + SimulatedWorker.value($1, section, index) }
            }
        }
    }

    private func resume(wasBehind: Bool) throws {
        progressAtFormation = recovery.progress
        if !isStopAgreed, !hasPassedTheEnd, state != expectedState(recovery.progress) {
            throw Simulation.Failure(description: "\(name) has the state of another progress than \(recovery.progress)")
        }
        if isNewcomer || wasBehind {
            isNewcomer = false
            isInSection = false
            readKept()
        }
        if isInSection { return compute() }
        try nextSection()
    }

    /// The last section, of all, adds nothing.
    private var hasPassedTheEnd: Bool { recovery.progress > simulation.plan.sections }

    private func readKept() {
        guard kept.count == 3 else { return }
        isReformAgreed = kept[1] > 0
        isStopAgreed = isStopAgreed || kept[2] > 0
    }

    private func nextSection() throws {
        isInSection = false
        if hasLeftToDo == false {
            phase = .leaving
            try tell(.leave)
            return try heard()
        }
        if isOpen, isReformAgreed, progressAtFormation < recovery.progress {
            isReformAgreed = false
            return try begin(isOpen: true, isBoundary: true)
        }
        isReformAgreed = false
        isInSection = true
        compute()
    }

    /// The farewell comes after all sections, or after the one in which all agreed to stop.
    private var hasLeftToDo: Bool { !hasSaidFarewell }
    private var hasSaidFarewell: Bool { kept.count == 3 && kept[0] == -1 }
    private var isFarewell: Bool { recovery.progress >= simulation.plan.sections || isStopAgreed }

    private func compute() {
        phase = .computing
        let (epoch, progress) = (epoch, recovery.progress)
        let time = Int.random(in: 0..<30, using: &simulation.generator) == 0 ? Duration.seconds(8) : .milliseconds(12)
        later(simulation.chance(of: time)) { [unowned self] in
            guard self.epoch == epoch, phase == .computing, recovery.progress == progress else { return }
            var sums = [Int64](repeating: 0, count: state.count + 3)
            if !isFarewell {
                for item in stride(from: place, to: SimulatedWorker.items, by: max(1, worldSize)) {
                    for index in state.indices { sums[index] += SimulatedWorker.value(item, progress, index) }
                }
            }
            sums[state.count] = 1
            sums[state.count + 1] = news.wantsReform ? 1 : 0
            sums[state.count + 2] = announcement?.stop == nil ? 0 : 1
            try operate(.working, sums, .allReduce)
        }
    }

    private func workEnded(_ sums: [Int64]) throws {
        guard Int(sums[state.count]) == worldSize else {
            throw Simulation.Failure(description: "\(name): a sum of \(sums[state.count]) members in a ring of \(worldSize)")
        }
        let section = recovery.progress
        kept = [isFarewell ? -1 : sums[0], min(1, sums[state.count + 1]), min(1, sums[state.count + 2])]
        if !isFarewell {
            for index in state.indices { state[index] += sums[index] }
            try simulation.sectionEnded(section, Array(sums.prefix(state.count)), by: self)
            if state != expectedState(section + 1) { throw Simulation.Failure(description: "\(name): a wrong sum in section \(section)") }
        }
        try recover(.sectionEnded)
        readKept()
        try nextSection()
    }
}
