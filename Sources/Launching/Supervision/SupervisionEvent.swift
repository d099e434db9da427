import EventLoop

extension Supervision {
    /// What the driver reports. Times are monotonic and count from any zero.
    package enum Event: Equatable, Sendable {
        /// The rank's first life has begun, or the one of this number.
        case started(rank: Int, life: Int = 0)
        /// A worker could not be started.
        case startFailed(rank: Int)
        /// The worker has ended. Its output may go on: from what it has started and left behind, or from the pipe's
        /// buffer.
        case exited(rank: Int, ChildProcess.Ending)
        /// Nothing holds the worker's outputs any more.
        case outputEnded(rank: Int)
        /// These ranks have a ring: they do without those that died before.
        case formed(ranks: [Int])
        /// The coordinator has shut out a worker that is frozen.
        case fenced(rank: Int)
        /// The worker's connection to the coordinator has ended. Its process may still be there.
        case disconnected(rank: Int)
        /// The worker has said that it has done its work.
        case left(rank: Int)
        /// The worker has said that it is about to end because of a failure of its own.
        case failing(rank: Int)
        /// The job is to have this many workers, ranks 0 ..< workers. The coordinator tells those above to go.
        case scale(workers: Int)
        /// The first ring does not come about: not all workers came in time.
        case gaveUp
        /// SIGINT came.
        case interrupt
        /// SIGTERM, SIGHUP or SIGUSR1 came: workers get this signal, once.
        case terminate(by: Signal = .terminate)
        /// The time of `nextDeadline` has come.
        case tick
    }

    /// What the driver is to do, in this order.
    package enum Action: Equatable, Sendable {
        /// Start this worker, again or for the first time while others are at work, and report `started` or
        /// `startFailed`.
        case start(rank: Int)
        /// To the worker's whole process group.
        case signal(rank: Int, Signal)
        /// A worker is gone, and the others go on, or it was the last.
        case died(Death)
        /// This life's end is the cause of all that may follow. At most once. The rank may be in its next life by then.
        case blame(Life, ChildProcess.Ending)
        /// A process outside the worker's group holds its output: stop reading it.
        case closeOutput(rank: Int)
        /// The level has been raised, to this signal, for this reason.
        case announce(Signal, Reason)
        /// The workers that not even SIGKILL could end, being stuck inside the kernel.
        case abandon(ranks: [Int])
        /// All is over: exit with this status. Once, and last.
        case finish(status: Int32)
    }

    /// Why the workers are pressed harder.
    package enum Reason: Equatable, Sendable {
        /// A signal asks for it, the first.
        case request
        /// A further signal asks for it.
        case repeatedRequest
        case failure
        case graceIsOver
    }

    /// A worker that is gone, and what comes of it.
    package struct Death: Equatable, Sendable {
        package var life: Life
        package var ending: ChildProcess.Ending
        /// It was shut out as frozen, and killed for that reason.
        package var wasFenced = false
        /// The others that are there.
        package var remaining: Int
        package var outlook: Outlook

        package var rank: Int { life.rank }

        package init(
            _ life: Life, ending: ChildProcess.Ending, wasFenced: Bool = false, remaining: Int, outlook: Outlook
        ) {
            self.life = life
            self.ending = ending
            self.wasFenced = wasFenced
            self.remaining = remaining
            self.outlook = outlook
        }
    }

    /// What comes after a worker's death.
    package enum Outlook: Equatable, Sendable {
        /// It is started again after this time, as the restart of this number.
        case restart(after: Duration, number: Int)
        /// No restarts are left.
        case noRestartsLeft
        /// It is not needed any more: it was retiring, or the run is about to end.
        case unneeded
        /// It was the last that had what the job had come to.
        case nobodyLeft
    }

    /// What is tolerated.
    package struct Policy: Sendable {
        /// Whether the others go on without a worker that dies. False for programs that cannot: any death then ends
        /// all.
        package var survivesDeaths = true
        /// The most restarts of all workers together.
        package var maxRestarts = 0
        package var limits = Limits()

        package init() {}
    }

    /// How long to wait before the next step.
    package struct Limits: Sendable {
        /// From SIGTERM to SIGKILL when a worker has failed.
        package var graceAfterFailure = Duration.seconds(10)
        /// From SIGTERM to SIGKILL when it was asked for from outside: there may be a checkpoint to write.
        package var graceAfterRequest = Duration.seconds(30)
        /// From the first SIGTERM after a failure to the second: a worker takes the first for a request to stop at the
        /// next step, the second ends it.
        package var insistence = Duration.milliseconds(200)
        /// What a worker leaves behind, holding its output, may go on for this long before it gets SIGTERM.
        package var leftovers = Duration.milliseconds(500)
        /// From SIGKILL to giving up.
        package var kill = Duration.seconds(5)
        /// After the first failure, for the others that happened with it, before the culprit is named.
        package var settling = Duration.milliseconds(50)
        /// After an end that looks like another's fault, for that other to show up.
        package var judgement = Duration.milliseconds(250)
        /// A worker that fails so soon after it was told to end had most likely failed before it could listen: its
        /// connections close while it still ends, so that the neighbour that lost it may be seen to end first.
        package var overlap = Duration.seconds(1)

        package init() {}
    }
}
