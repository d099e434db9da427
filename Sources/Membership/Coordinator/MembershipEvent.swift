/// What happens in a job's membership, for those who show it to people or act on it: the launcher, `job.json`.
package enum MembershipEvent: Sendable, Equatable {
    /// A worker is there: as one of the first world, or as a newcomer, who prepares and comes in later.
    case joined(rank: Int, processID: Int32, host: String, isNewcomer: Bool)
    /// A generation's ring has been announced to its members, whose ranks these are.
    case formed(generation: UInt32, ranks: [Int])
    /// A worker went, or was sent away, without leaving.
    case lost(rank: Int, cause: String)
    /// A worker has given no sign of life for `peerTimeout`, or holds everybody up: its process, if it is there, is to be killed.
    /// `lost` comes as well.
    case fenced(rank: Int)
    /// Nothing is heard of those that have the run's state.
    case silence(Silence)
    /// A member has done its work, or has gone because it was asked to (`scale`).
    case left(rank: Int)
    /// The run stands still until there are more workers, or `rejoinTimeout` is over.
    case waitingForWorkers(have: Int, need: Int)
    /// Somebody wants so many workers: the launcher starts those that are not there. Ranks beyond go at the next boundary.
    case scale(workers: Int)
    /// A connection that did not prove itself was closed. Told once for each address and cause.
    case refusedStranger(address: String, cause: String)
    /// Two members have no connection with each other, or had one that broke, as the first of them says.
    case linkBroken(rank: Int, other: Int, cause: String)
    /// A member has said that it is about to end because of a failure of its own.
    case failing(rank: Int)
    /// The first world does not come about: the job is over, and everybody is told why.
    case gaveUp(reason: String)
    /// Nobody has taken this worker's connection to the coordinator for a while, and the address is this host's own.
    case nobodyHere(address: String)
}

/// All members are silent at once: they are stopped, the launcher was, or the whole machine. Nobody is taken for dead.
package enum Silence: Sendable, Equatable {
    /// Nothing was heard of these, all members, for this time; the run waits so long for one of them.
    case begun(ranks: [Int], time: Duration, limit: Duration)
    /// This one has spoken.
    case over(rank: Int)
    /// None has spoken in time: they are fenced.
    case tooLong(limit: Duration)
}
