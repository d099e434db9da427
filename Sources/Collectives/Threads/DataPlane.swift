import CProcess
import EventLoop
import Glibc
import Membership
import Wire

/// One generation's ring: its loop with the connections on it, and who drives it.
///
/// A small operation is over sooner than a thread is woken. So the compute thread drives the loop itself while it has nothing to do
/// but wait; where it goes on computing after `submit`, the ring's thread does; while nothing is under way nobody does, and both sleep.
/// All methods but `interrupt`, which the control thread calls, are the compute thread's.
final class DataPlane: @unchecked Sendable {
    // SAFETY (@unchecked Sendable): `shared` is a monitor, and everything on the loop is touched only by its driver, of which
    // `RingShared.driver` admits one at a time.

    private let shared: Monitor<RingShared>
    private let loop: Loop
    private let timeout: Duration
    private let silenceLimit: Duration
    private var wake: Wake!
    private var formation: RingFormation!
    private var connections: RingConnections?
    private var verdictTimer: Timer?
    private var thread: pthread_t?
    private var generation: UInt32 = 0
    /// By place.
    private var members: [MemberAddress] = []
    private var place = 0
    private var spin = AdaptiveSpin(longest: DataPlane.longestSpin)
    /// This host has more workers than cores: who looks for bytes lets others have the core in between.
    private var isCrowded = false
    /// What was started is worked at by the ring's thread, while the compute thread computes. Where the ring is within one host, and its workers
    /// have every core, that only keeps some worker from computing, with a change of threads for every segment: it is cheaper done by
    /// the compute threads, when they wait.
    private var worksBehind = true
    private let overlap: Bool?
    private let threadsPerWorker: Int
    private var looks = 0

    private static let longestSpin = Duration.microseconds(100)
    /// Among looks at the connections, one in so many is a pass of the loop, which has timers and other threads' requests too.
    private static let looksForAPass = 8
    /// The coordinator waits a little for all who wait in vain.
    private static let stallVerdictTime = Duration.seconds(3)

    /// Tells the coordinator for whom this rank waits in vain. Set before the ring is formed.
    var stalled: (_ waitingFor: Int, _ limit: Duration) -> Void = { _, _ in }

    init(_ environment: WorkerEnvironment, secret: Secret, shared: Monitor<RingShared>) throws {
        self.shared = shared
        overlap = environment.overlap
        threadsPerWorker = environment.threads
        timeout = environment.timeout
        silenceLimit = environment.peerTimeout * 2
        loop = try Loop()
        do {
            wake = try Wake(loop: loop) { [weak self] in self?.takeSubmissions() }
        } catch {
            loop.close()
            throw error
        }
        formation = RingFormation(loop: loop, secret: secret) { [weak self] result in self?.formed(result) }
    }

    /// Makes the driver look at what the control thread has put into `RingShared`. From any thread.
    func interrupt() {
        loop.enqueue {}
    }

    // MARK: For the compute thread

    /// Listens for members on an address of this host; gives the port.
    func listen(on host: String) throws -> UInt16 {
        try formation.listen(on: host)
    }

    /// Returns when the coordinator has answered, or something has failed. Members may connect meanwhile.
    func waitForAnswer() {
        drive { $0.news.answer != nil }
    }

    /// Connects with the members, drives the loop until the ring is complete or has failed, then starts the ring's thread.
    func form(generation: UInt32, members: [MemberAddress], place: Int, within limit: Duration) throws {
        self.generation = generation
        self.members = members
        self.place = place
        let here = members.count { $0.hostName == members[place].hostName }
        let cores = sysconf(Int32(_SC_NPROCESSORS_ONLN))
        isCrowded = here > cores
        worksBehind = overlap ?? !(isOneHost && here * threadsPerWorker >= cores)
        loop.claim()
        formation.form(generation: generation, members: members, place: place, within: limit)
        drive { $0.isFormed }
        if let failure = shared.withLock({ $0.failure }) { throw failure }
        try startThread()
    }

    /// Puts an operation in the queue, for the ring's thread to begin, or for whoever waits. Waits only where the program is a thousand
    /// operations ahead.
    func submit(_ operation: RingShared.Operation) throws -> UInt64 {
        let sequence = try enqueue(operation)
        if worksBehind { shared.notify(.ringThread) { if $0.driver == .nobody { $0.needsRingThread = true } } }
        return sequence
    }

    /// Puts an operation in the queue and drives the loop until it has ended, unless the ring's thread is at it already.
    func run(_ operation: RingShared.Operation) throws {
        try wait(for: enqueue(operation))
    }

    /// Puts an operation in the queue, and tells the ring's thread if that is at work. Its number among the operations.
    private func enqueue(_ operation: RingShared.Operation) throws -> UInt64 {
        let needsDriver = shared.withLock { shared in
            guard !shared.hasRoom, shared.driver == .nobody else { return false }
            shared.needsRingThread = true
            return true
        }
        if needsDriver { shared.notify(.ringThread) { _ in } }
        let submission: Result<(sequence: UInt64, isDriven: Bool), any Error> = shared.wait(.computeThread) { shared in
            if let failure = shared.failure { return .failure(failure) }
            return shared.hasRoom ? .success((shared.submit(operation), shared.driver == .ringThread)) : nil
        }
        if case .failure = submission { settle() }
        let (sequence, isDriven) = try submission.get()
        if isDriven { wake.signal() }
        return sequence
    }

    /// Returns when nobody drives the loop any more, which after a failure is soon and for good: the caller's memory is its own again.
    func settle() {
        shared.wait(.computeThread) { $0.driver == .nobody ? () : nil }
    }

    /// Returns when the operation has ended with its sum; throws why it has not.
    func wait(for sequence: UInt64) throws {
        drive { $0.completed >= sequence }
        if let failure = shared.withLock({ $0.completed >= sequence ? nil : $0.failure }) {
            settle()
            throw failure
        }
    }

    /// Ends the ring's thread and closes everything.
    func stop() {
        shared.notify(.ringThread) { $0.isStopping = true }
        interrupt()
        if let thread { pthread_join(thread, nil) }
        loop.claim()
        connections?.close()
        formation.cancel()
        verdictTimer?.close()
        wake.close()
        loop.close()
    }

    /// The members with whom there was no connection when `form` gave up.
    var unreached: [Recovery.Complaint] { formation.unreached }

    // MARK: Driving

    /// Returns when the condition holds or something has failed: by driving the loop, if nobody does, or by waiting for who does.
    private func drive(until isDone: (RingShared) -> Bool) {
        while true {
            let mayDrive = shared.wait(.computeThread) { shared -> Bool? in
                if isDone(shared) || shared.failure != nil { return false }
                guard shared.driver == .nobody else { return nil }
                shared.driver = .computeThread
                shared.needsRingThread = false
                return true
            }
            guard mayDrive else { return }
            loop.claim()
            takeSubmissions()
            while !shared.withLock({ isDone($0) || $0.failure != nil }) {
                if !look() { loop.runOnce(waiting: true) }
            }
            let isLeftOver = shared.withLock { shared in
                shared.driver = .nobody
                shared.needsRingThread = shared.completed < shared.submitted
                return shared.needsRingThread
            }
            if isLeftOver { shared.notify(.ringThread) { _ in } }
        }
    }

    /// Looks for events without sleeping, for as long as that has been worth it lately. Whether there were any.
    private func look() -> Bool {
        let time = spin.next()
        guard time > .zero else { return false }
        let start = ContinuousClock.now
        repeat {
            looks &+= 1
            let isPass = looks % DataPlane.looksForAPass == 0
            if isPass ? loop.runOnce(waiting: false) : connections?.receive() ?? false {
                spin.looked(found: true)
                return true
            }
            if isCrowded { sched_yield() }
        } while ContinuousClock.now - start < time
        spin.looked(found: false)
        return false
    }

    private func startThread() throws {
        var created = pthread_t()
        let code = lockstep_thread_create(
            &created, 0,
            { argument in
                // SAFETY: balances the passRetained below; the thread keeps the object alive while it runs.
                let plane = Unmanaged<DataPlane>.fromOpaque(argument!).takeRetainedValue()
                nameThread("lockstep-ring")
                plane.threadMain()
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        guard code == 0 else {
            Unmanaged.passUnretained(self).release()
            throw LoopError.system(operation: "pthread_create", code: SystemCode(errno: code))
        }
        thread = created
    }

    private func threadMain() {
        while true {
            let isStopping: Bool = shared.wait(.ringThread) { shared in
                if shared.isStopping { return true }
                guard shared.needsRingThread, shared.driver == .nobody, shared.failure == nil else { return nil }
                shared.driver = .ringThread
                shared.needsRingThread = false
                return false
            }
            if isStopping { return }
            loop.claim()
            takeSubmissions()
            while !shared.withLock({ $0.isStopping || $0.failure != nil || $0.completed == $0.submitted }) {
                loop.runOnce(waiting: true)
            }
            shared.notify(.computeThread) { shared in
                shared.driver = .nobody
                // Something may have been submitted since the last look.
                shared.needsRingThread = shared.completed < shared.submitted
            }
        }
    }

    // MARK: On the loop

    private func takeSubmissions() {
        guard let connections else { return }
        while let operation = shared.withLock({ $0.takeNext() }) { connections.submit(operation) }
    }

    private func formed(_ result: Result<RingFormation.Streams, CollectiveError>) {
        switch result {
        case .failure(let error):
            fail(error)
        case .success(let streams):
            do {
                connections = try RingConnections(
                    streams, rank: place, worldSize: members.count, generation: generation, packs: !isOneHost, timeout: timeout,
                    silenceLimit: silenceLimit, neighbour: neighbour,
                    completedThrough: { [weak self] in self?.completed(through: $0) },
                    failed: { [weak self] in self?.connectionFailed($0) })
                shared.notify(.computeThread) { $0.isFormed = true }
            } catch {
                fail(error)
            }
        }
    }

    private var isOneHost: Bool {
        members.allSatisfy { $0.hostName == members[place].hostName && $0.host == members[place].host }
    }

    /// The connections know members by their places; their errors get the ranks in `named`.
    private func neighbour(_ place: Int) -> Neighbour {
        Neighbour(rank: place, host: members[place].hostName)
    }

    private func completed(through sequence: UInt64) {
        let bytes = connections?.bytesSent ?? 0
        shared.notify(.computeThread) {
            $0.completed = sequence
            $0.bytesSent = bytes
        }
    }

    /// In a section the ring is formed anew at once, and who does not come to it is at fault. Elsewhere, where somebody is waited for in
    /// vain, the coordinator, who hears it of all, says whose fault it is; it is heard before a neighbour is blamed.
    private func connectionFailed(_ failure: CollectiveError) {
        let error = named(failure)
        if let link = connections?.lostLink, members.indices.contains(link.place) {
            let report = RingShared.LinkReport(rank: Int(members[link.place].rank), cause: link.cause, isSilent: link.isSilent)
            shared.withLock { $0.lostLink = $0.lostLink ?? report }
        }
        guard case .noProgress(_, let waitingFor, _, _, _, let limit) = error, !shared.withLock({ $0.isInSection }) else {
            return fail(error)
        }
        stalled(waitingFor, limit)
        guard let timer = try? Timer(loop: loop, fired: { [weak self] in self?.fail(error) }) else { return fail(error) }
        verdictTimer = timer
        timer.start(after: DataPlane.stallVerdictTime)
    }

    /// An error with ranks where the connections have places.
    private func named(_ error: CollectiveError) -> CollectiveError {
        func rank(_ place: Int) -> Int { members.indices.contains(place) ? Int(members[place].rank) : place }
        return switch error {
        case .peerLost(let place, let host, let operation, let bytes, let cause):
            .peerLost(rank: rank(place), host: host, operation: operation, bytesMoved: bytes, cause: cause)
        case .noProgress(let place, let waitingFor, let host, let operation, let bytes, let limit):
            .noProgress(
                rank: rank(place), waitingFor: rank(waitingFor), host: host, operation: operation, bytesMoved: bytes, limit: limit)
        case .mismatch(let place, let operation, let theirs, let ours):
            .mismatch(rank: rank(place), operation: operation, theirs: theirs, ours: ours)
        case .protocolViolation(let place, let fault):
            .protocolViolation(rank: rank(place), fault: fault)
        case .noRing, .interrupted, .stateLost, .sectionsApart, .closed, .notEntered: error
        }
    }

    private func fail(_ error: any Error) {
        shared.notify(.computeThread) { if $0.failure == nil { $0.failure = error } }
    }
}
