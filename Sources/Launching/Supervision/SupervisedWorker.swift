import EventLoop

/// A worker as `Supervision` knows it: one rank, through all its lives.
struct SupervisedWorker {
    enum Phase { case unstarted, running, exited, over }

    /// What is still to come for a worker that has ended.
    enum Sequel {
        /// It is to be judged whether it was another's victim.
        case judgement(of: EndedLife, at: Duration)
        case start(at: Duration)
    }

    /// The life that it is in, or was in last.
    private(set) var life: Life
    var phase = Phase.unstarted
    var sequel: Sequel?
    var outputIsOpen = true
    var startedAt = Duration.zero
    /// The level of the strongest signal that it was sent, when that was, and the level before.
    var told = (level: Pressure.Level.none, at: Duration.zero, before: Pressure.Level.none)
    /// What comes next for a worker whose connection is lost, and for the holders of an ended one's output, and when.
    var due: (next: Pressure.Level, at: Duration)?
    /// It is, or was when it ended, in the ring.
    var isMember = false
    var isFenced = false
    var hasLeft = false
    /// Until when its end is waited for, once it has said that it is about to fail.
    var failsUntil: Duration?
    /// It goes at a boundary, while others stay.
    var isRetiring = false
    /// Lives in a row that were too short.
    private(set) var shortLives = 0

    init(rank: Int) {
        life = Life(rank: rank)
    }

    var isThere: Bool { phase == .running || phase == .exited }

    /// The life of which it is still to be judged whether it was another's victim.
    var toBeJudged: EndedLife? {
        if case .judgement(let ended, _) = sequel { ended } else { nil }
    }

    var isToBeStarted: Bool {
        if case .start = sequel { true } else { false }
    }

    mutating func lived(_ life: Duration) {
        shortLives = life < RestartBudget.healthyLife ? shortLives + 1 : 0
    }

    /// The next life is about to begin.
    mutating func reset() {
        let (shortLives, life) = (shortLives, life)
        self = SupervisedWorker(rank: life.rank)
        self.shortLives = shortLives
        self.life = life
    }

    /// The life of this number has begun.
    mutating func began(_ number: Int, at now: Duration) {
        reset()
        life = Life(rank: life.rank, number: number)
        phase = .running
        startedAt = now
    }
}
