/// What happens in a job's membership, for the launcher, which acts on it and reports it, and for `job.json`.
package enum MembershipEvent: Sendable, Equatable {
    /// A worker is there: as one of the first world, or as a newcomer, which prepares and comes in later.
    case joined(rank: Int, processID: Int32, host: String, isNewcomer: Bool)
    /// A generation's ring has been announced to its members, whose ranks these are.
    case formed(generation: UInt32, ranks: [Int])
    /// A worker is gone from the ring without leaving: its connection ended, or it was sent away.
    case lost(rank: Int, cause: String)
    /// A worker has given no sign of life for `peerTimeout`, or holds up all others: its process, if it is there, must
    /// be killed. `lost` comes as well.
    case fenced(rank: Int)
    /// No sign of life comes from the members that have the run's state, or one comes again.
    case silence(Silence)
    /// A member has done its work, or has gone because it was asked to (`scale`).
    case left(rank: Int)
    /// The run stands still until there are more workers, or `rejoinTimeout` is over.
    case waitingForWorkers(have: Int, need: Int)
    /// The job is to have this many workers: the launcher starts those that are missing. Higher ranks go at the next
    /// boundary.
    case scale(workers: Int)
    /// A connection that did not prove itself was closed. Reported once for each address and cause.
    case refusedStranger(address: String, cause: String)
    /// Two members have no connection with each other, or had one that broke, as the first of them says.
    case linkBroken(rank: Int, other: Int, cause: String)
    /// A member has said that it is about to end because of a failure of its own.
    case failing(rank: Int)
    /// The first world does not come about: the job is over, and every rank is told why.
    case gaveUp(reason: String)
    /// For a while no coordinator has taken this worker's connection, and the address is this host's own.
    case nobodyHere(address: String)
}

/// All members are silent at once: they are stopped, or the launcher was, or the whole machine. None is taken for dead.
package enum Silence: Sendable, Equatable {
    /// Nothing was heard of these, all members, for this time; the run waits up to `limit` for one of them.
    case begun(ranks: [Int], time: Duration, limit: Duration)
    /// This one was heard again.
    case over(rank: Int)
    /// None was heard in time: they are fenced.
    case tooLong(limit: Duration)
}
