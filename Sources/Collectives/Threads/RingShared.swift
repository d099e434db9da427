import Membership

/// What the compute thread, the ring's thread and the control thread of a process have in common, under one lock.
struct RingShared {
    /// Who drives the ring's loop. Whoever finds nobody doing it may; it has one driver at a time.
    enum Driver {
        case nobody
        case computeThread
        case ringThread
    }

    typealias Operation = CollectiveOperation

    // MARK: One generation's ring

    var driver = Driver.nobody
    /// Operations wait for the ring's thread, because the compute thread has gone on to compute.
    var needsRingThread = false
    var isStopping = false
    var isFormed = false
    /// What is wrong with it. The first failure that is set counts, but for what the coordinator says.
    var failure: (any Error)? {
        get { news.failure }
        set { if let newValue { news.receive(.ringFailed(newValue)) } }
    }

    /// Operations submitted, taken by the driver, and ended, in order.
    var submitted: UInt64 = 0
    var taken: UInt64 = 0
    var completed: UInt64 = 0
    var bytesSent: UInt64 = 0

    /// The operations that were submitted and not taken: a circle with room for all that may be under way.
    private var queue = [Operation?](repeating: nil, count: CollectiveOperation.mostUnderWay)

    /// A connection with a rank that has ended, and whether because nothing arrives.
    struct LinkReport {
        var rank: Int
        var cause: String
        var isSilent: Bool
    }

    /// What this rank has seen first of the end of the ring at hand.
    var lostLink: LinkReport?

    // MARK: Membership

    /// The compute thread is in a section: what fails is mended.
    var isInSection = false

    /// A coordinator in this process has told everybody what there was to tell.
    var isControlDone = false

    /// The coordinator is told that this worker is about to fail.
    var isFailureSaid = false

    /// This host's address on the way to the coordinator, once that is reached.
    var localHost: String?
    /// What was heard from the coordinator.
    var news = News()
    /// The ring's loop, which sleeps in its sockets and must be woken for news.
    var plane: DataPlane?

    var hasRoom: Bool { submitted - completed < UInt64(queue.count) }

    /// Forgets the ring that was, whose threads have ended; the next has not been announced.
    mutating func beginGeneration() {
        driver = .nobody
        needsRingThread = false
        isStopping = false
        isFormed = false
        (submitted, taken, completed, bytesSent) = (0, 0, 0, 0)
        for index in queue.indices { queue[index] = nil }
        news.receive(.generationBegan)
        plane = nil
    }

    /// Gives the operation its number.
    mutating func submit(_ operation: Operation) -> UInt64 {
        queue[Int(submitted % UInt64(queue.count))] = operation
        submitted += 1
        return submitted
    }

    mutating func takeNext() -> Operation? {
        guard taken < submitted else { return nil }
        let operation = queue[Int(taken % UInt64(queue.count))]
        taken += 1
        return operation
    }
}
