import EventLoop

/// A worker as `Supervision` sees it: one rank, through one life after another.
struct SupervisedWorker {
    enum Phase { case unstarted, running, exited, over }

    /// What is still to come for a worker that has ended.
    enum Sequel {
        /// Whether it was another's victim.
        case judgement(at: Duration)
        case start(at: Duration)
    }

    var phase = Phase.unstarted
    var sequel: Sequel?
    var ending: ChildProcess.Ending?
    var outputIsOpen = true
    var startedAt = Duration.zero
    /// The level of the strongest signal that it was sent, when that was, and the level before.
    var told = (level: Pressure.Level.none, at: Duration.zero, before: Pressure.Level.none)
    /// What comes next for a worker whose connection is lost, and for the holders of an ended one's output, and when.
    var due: (next: Pressure.Level, at: Duration)?
    /// Whether it is, or was when it ended, in the ring.
    var isMember = false
    var isFenced = false
    var hasLeft = false
    /// Whether it is to go while others stay.
    var isRetiring = false
    /// Lives in a row that were too short.
    private(set) var shortLives = 0

    var isThere: Bool { phase == .running || phase == .exited }

    var isToBeJudged: Bool {
        if case .judgement = sequel { true } else { false }
    }

    var isToBeStarted: Bool {
        if case .start = sequel { true } else { false }
    }

    mutating func lived(_ life: Duration) {
        shortLives = life < RestartBudget.healthyLife ? shortLives + 1 : 0
    }

    /// Begins the next life.
    mutating func reset() {
        let shortLives = shortLives
        self = SupervisedWorker()
        self.shortLives = shortLives
    }
}
