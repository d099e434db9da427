import CProcess
import CReductionKernels
import Membership
import Processes

/// A worker's place in the ring of a job, and the collective operations on it.
///
/// Every rank makes the same calls in the same order; each operation is matched by its number. Calls come from one thread, the
/// compute thread, which takes no signals from then on: a thread of their own does. It moves the bytes itself while it waits for them; a thread of the ring's own does while the caller computes. A
/// world of one has neither threads nor sockets.
///
/// Members may be lost, and others come: each such change is a new generation of the ring, with new connections. What is to survive it
/// is done in a `section`. After an error outside of any, the ring is of no more use: `close` it.
public final class Ring {
    /// The stable number of this worker in the job. A worker that is started in the place of a dead one has the same.
    public let rank: Int
    /// Members of this generation.
    public internal(set) var worldSize: Int
    /// This worker's position among the members, `0 ..< worldSize`: what chunks, roots and vectors with one element a member go by.
    public internal(set) var place: Int
    /// The ranks of this generation's members, by place, ascending.
    public internal(set) var members: [Int]
    /// The members that are to go at a boundary: the next `reform` may be without them. What only they have must have gone to others by then.
    public internal(set) var retiring: Set<Int> = []
    /// Counts from 1, with every change of the members; 0 for a worker that has not been in a ring.
    public internal(set) var generation = 0
    /// Members of this generation on this worker's host, itself among them; they share its memory.
    public internal(set) var membersOnThisHost = 1
    /// Whether this worker came while the job was running and has not been let in yet: until `enter`, sections run alone, as in a world
    /// of one.
    public internal(set) var isNewcomer = false
    /// Sections that have ended.
    public internal(set) var progress = 0
    /// `progress` when this generation's ring was formed.
    public internal(set) var progressAtFormation = 0
    /// Copies the state of the member at place `source` to all others, over the new ring; `Trainer` sets it. Called in recovery on all
    /// members alike, where some are behind or newcomers.
    ///
    /// It must change nothing before its last operation has ended: let it receive into memory of its own, and copy then. If it throws, the
    /// state must be what it was, or the loss of `source` in the middle of a copy would lose the state of both.
    public var synchronise: ((_ source: Int) throws -> Void)?

    /// Whether this is the member at place 0: the one that prints, and writes metrics and checkpoints.
    public var isFirst: Bool { place == 0 }

    /// Set where ranks were started by hand, and the coordinator is lost with the process that it was in: why, for people. Another member
    /// coordinates then until all have done what `stopOrder` wants.
    public var coordinatorLoss: String? { shared.withLock { $0.news.coordinatorLoss } }

    /// An operation under way, to be waited for in the generation that it was started in.
    public struct Ticket: Sendable {
        let sequence: UInt64
        let generation: Int
    }

    /// What the last section gave: a worker that is behind, or comes, gets it from one that is not.
    var keptValues: [Double] = []
    var isInSection = false {
        didSet { if oldValue != isInSection { shared.withLock { $0.isInSection = isInSection } } }
    }
    var recovery = Recovery()
    var localClaims = (generation: 0, section: -1, next: 0)
    var hasAskedForClaim = false
    /// Whether something has been done with all others.
    private var hasBegun = false
    var stopText: String?
    /// Whom this rank could not reach when the last ring was to be formed.
    var unreached: [Recovery.Complaint] = []
    /// What a coordinator in this process has to tell people: where there is no launcher, nobody else does.
    let told: @Sendable (MembershipEvent) -> Void

    let environment: WorkerEnvironment
    let shared = Monitor(RingShared())
    /// nil in a world of one.
    var data: DataPlane?
    /// nil where there is no coordinator.
    private(set) var control: ControlPlane?
    /// Bytes that were sent in rings before this generation's.
    var bytesSentBefore: UInt64 = 0
    private var isClosed = false

    /// Well within the 100 ms in which the death of a peer is to be told.
    private static let verdictTime = Duration.milliseconds(50)

    /// Joins the job that the environment names, and returns when its ring is complete; or, where the job is running already, as a
    /// newcomer.
    ///
    /// Standard output is written line by line from then on: it is a launcher's pipe, or a file, and would else be kept back.
    ///
    /// Throws `MembershipError` if the environment makes no sense, or the coordinator is not to be found or refuses; nothing is left open
    /// then.
    public convenience init(_ environment: WorkerEnvironment) throws {
        try self.init(environment, told: { _ in })
    }

    /// - Parameters:
    ///   - told: called, on the control thread, with what a coordinator in this process has to tell people.
    ///   - failing: called with what is about to be thrown, before this process, if the coordinator is in it, waits for the others to
    ///     learn that there will be no job.
    package init(
        _ environment: WorkerEnvironment, told: @escaping @Sendable (MembershipEvent) -> Void, failing: (any Error) -> Void = { _ in }
    ) throws {
        lockstep_process_begin()
        try ComputeThread.enter()
        self.environment = environment
        self.told = told
        rank = environment.rank
        worldSize = 1
        place = 0
        members = [environment.rank]
        guard let address = environment.coordinator else { return }
        bufferStandardOutputByLines()
        try DescriptorLimit.require(
            WorkerEnvironment.descriptors(worldSize: environment.worldSize, coordinates: address.isOurs),
            for: "a worker of \(environment.worldSize)\(address.isOurs ? " that coordinates" : "")")
        do {
            control = try ControlPlane(environment: environment, address: address, shared: shared, told: told)
            _ = try recover(isOpen: false, isBoundary: false)
        } catch {
            failing(error)
            stop()
            throw error
        }
    }

    deinit {
        if !isClosed { stop() }
    }

    /// Payload bytes that this rank has sent in operations that have ended.
    public var bytesSent: UInt64 { bytesSentBefore + shared.withLock { $0.bytesSent } }

    // MARK: Operations

    /// Replaces each rank's `values` by their elementwise sum, maximum or minimum over all ranks: every rank gets the same bits.
    /// A sum of floats depends on the number of ranks; `allReduceExactly` does not.
    ///
    /// The memory is the caller's. On an error it holds nothing of use.
    public func allReduce<Element: RingElement>(
        _ values: UnsafeMutableBufferPointer<Element>, _ operation: ReduceOperation = .sum
    ) throws {
        try run(inPlace(values, Reduction(Element.ringElement.element, operation), .allReduce))
    }

    /// Starts what `allReduce` does. The memory is the ring's until the ticket has been waited for.
    public func startAllReduce<Element: RingElement>(
        _ values: UnsafeMutableBufferPointer<Element>, _ operation: ReduceOperation = .sum
    ) throws -> Ticket {
        try submit(inPlace(values, Reduction(Element.ringElement.element, operation), .allReduce))
    }

    private func inPlace<Element>(
        _ values: UnsafeMutableBufferPointer<Element>, _ reduction: Reduction, _ pattern: RingPlan.Pattern
    ) -> RingShared.Operation {
        // An operation on nothing is one all the same: it has its number.
        let empty = UnsafeMutableRawPointer(bitPattern: 64)!
        let memory = values.baseAddress.map { UnsafeMutableRawPointer($0) } ?? empty
        return .init(reduction: reduction, source: memory, result: memory, count: values.count, pattern: pattern)
    }

    /// The elementwise reduction over all ranks of chunk `place` of `values` (`chunk(_:of:)`), written over that chunk; the rest of
    /// `values` stays as it is.
    public func reduceScatter<Element: RingElement>(
        _ values: UnsafeMutableBufferPointer<Element>, _ operation: ReduceOperation = .sum
    ) throws {
        try run(inPlace(values, Reduction(Element.ringElement.element, operation), .reduceScatter()))
    }

    /// Gives every rank all chunks, of which each begins with its own in place: the other half of an all-reduce.
    public func allGather<Element: RingElement>(_ values: UnsafeMutableBufferPointer<Element>) throws {
        try run(inPlace(values, Reduction(Element.ringElement.element), .allGather()))
    }

    /// Gives every rank the elements that the member at place `root` has.
    public func broadcast<Element: RingElement>(_ values: UnsafeMutableBufferPointer<Element>, from root: Int) throws {
        precondition((0..<worldSize).contains(root), "place \(root) in a world of \(worldSize)")
        try run(inPlace(values, Reduction(Element.ringElement.element), .broadcast(root: root)))
    }

    /// The part of `count` elements that the member at a place owns: chunks differ by at most one element, the longer ones come first.
    public func chunk(_ place: Int, of count: Int) -> Range<Int> {
        RingPlan.chunk(place, of: count, worldSize: worldSize)
    }

    /// Replaces each rank's `values` by their exact elementwise sum over all ranks, rounded once to float32: the same bits in
    /// whichever order the ranks stand, and within `Grid.errorBound` and half a unit in the last place of the true sum.
    ///
    /// The grid follows from the largest magnitude of all ranks' values, for which they are read once more beforehand. Where any
    /// value is NaN or infinite, so is the sum there; the other elements are then summed on the coarsest grid.
    public func allReduceExactly(_ values: UnsafeMutableBufferPointer<Float>) throws {
        var largest = [Int32(bitPattern: values.baseAddress.map { lockstep_largest_magnitude($0, values.count) } ?? 0)]
        try largest.withUnsafeMutableBufferPointer { try allReduce($0, .max) }
        let grid = Grid(containing: UInt32(bitPattern: largest[0]), parts: worldSize)
        guard let base = values.baseAddress else { return try barrier() }
        let carriers = UnsafeMutableBufferPointer<Double>.allocate(capacity: values.count)
        defer { carriers.deallocate() }
        _ = lockstep_carrier_set(carriers.baseAddress!, base, values.count, grid.magic)
        try run(.init(reduction: Reduction(.carrier), source: carriers.baseAddress!, result: base, count: values.count))
    }

    /// Starts the float32 sum: `result[i]` becomes the sum over all ranks of `values[i]`. Both are the caller's until the ticket has
    /// been waited for, and may be the same memory; else `values` is only read.
    public func startAllReduce(_ values: UnsafeBufferPointer<Float>, into result: UnsafeMutablePointer<Float>) throws -> Ticket {
        try startSum(of: values, into: result, for: .everyMember)
    }

    /// Starts the exact sum of carriers: `result[i]` becomes the sum over all ranks of `carriers[i]`, rounded once to float32.
    ///
    /// Both are the caller's until the ticket has been waited for; `carriers` is only read and keeps this rank's partial sum.
    public func startAllReduce(carriers: UnsafeBufferPointer<Double>, into result: UnsafeMutablePointer<Float>) throws -> Ticket {
        try startSum(ofCarriers: carriers, into: result, for: .everyMember)
    }

    /// Returns when every rank has called it.
    public func barrier() throws {
        // One element a rank: every rank's part of the sum goes through every rank.
        try withUnsafeTemporaryAllocation(of: Int32.self, capacity: worldSize) { values in
            values.initialize(repeating: 0)
            try allReduce(values)
        }
    }

    /// Returns when the operation, and all before it, have ended with their sums; throws why they have not.
    public func wait(for ticket: Ticket) throws {
        guard ticket.generation == generation else {
            throw CollectiveError.interrupted(cause: "the operation was one of generation \(ticket.generation)")
        }
        guard let data else { return }
        try judged { try data.wait(for: ticket.sequence) }
        if !isInSection { worked() }
    }

    /// Has done something with all others: where ranks were started by hand, the job goes on from now on without whom it loses.
    func worked() {
        guard !hasBegun else { return }
        hasBegun = true
        if environment.isByHand { control?.begun() }
    }

    /// Whether the operation, and all before it, have ended with their sums. To be asked also after a failure, until
    /// the next ring is formed.
    package func hasEnded(_ ticket: Ticket) -> Bool {
        guard ticket.generation == generation else { return false }
        return data == nil || shared.withLock { $0.completed >= ticket.sequence }
    }

    /// Leaves the job properly: waits until every other rank has called it, so that nobody's going is taken for a loss. It is the last
    /// section: whoever is behind is helped to its end before the others go. After an error it closes at once.
    public func close() {
        guard !isClosed else { return }
        if let control, !isNewcomer, shared.withLock({ $0.failure == nil }) {
            do {
                _ = try section {
                    try barrier()
                    return keptValues
                }
                control.leave()
                shared.wait(.computeThread) { $0.news.isOver || $0.news.exclusion != nil ? () : nil }
            } catch {
                // Whoever calls this has done its work; what fails now fails for those who have not, and they say so.
            }
        }
        stop()
    }

    /// Says to a launcher, before anybody else can end because of it, that this worker is about to end with an error. Returns when that is on
    /// its way.
    package func announceFailure(_ reason: String) {
        guard !environment.isByHand, !isClosed else { return }
        control?.announceFailure(reason)
    }

    /// Ends this worker's part because of an error, of which the others learn where ranks were started by hand: nobody else tells them.
    package func fail(_ reason: String) {
        if environment.isByHand, !isClosed { control?.failing(reason) }
        stop()
    }

    /// Ends this worker's part, without a word to the others.
    func stop() {
        isClosed = true
        shared.notify(.computeThread) { if $0.failure == nil { $0.failure = CollectiveError.closed } }
        control?.stop()
        control = nil
        stopData()
    }

    /// Stops this generation's ring: afterwards no thread but this one touches the caller's memory.
    func stopData() {
        data?.stop()
        data = nil
        shared.withLock { $0.plane = nil }
    }

    /// Starts an operation, or in a world of one does it.
    func submit(_ operation: RingShared.Operation) throws -> Ticket {
        guard let data else {
            try runAlone(operation)
            return Ticket(sequence: 0, generation: generation)
        }
        return Ticket(sequence: try judged { try data.submit(operation) }, generation: generation)
    }

    /// Does an operation from beginning to end.
    private func run(_ operation: RingShared.Operation) throws {
        guard let data else { return try runAlone(operation) }
        try judged { try data.run(operation) }
        if !isInSection { worked() }
    }

    /// In a world of one. A closed ring is none, and a newcomer is one only as far as it prepares itself, in sections.
    private func runAlone(_ operation: RingShared.Operation) throws {
        if isClosed { throw CollectiveError.closed }
        if isNewcomer, !isInSection { throw CollectiveError.notEntered }
        operation.reduction.finishAlone(operation.source, into: operation.result, count: operation.count)
    }

    /// When a worker dies its neighbours notice first, and their neighbours then lose them; the coordinator saw who was first. Outside of
    /// a section, where the error goes to people, it is heard before a neighbour is blamed.
    private func judged<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as CollectiveError where !isInSection {
            guard case .peerLost = error else { throw error }
            let verdict = shared.wait(.computeThread, for: Ring.verdictTime) { $0.news.verdict }
            throw verdict ?? error
        }
    }
}
