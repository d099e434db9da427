/// How many more times dead workers are started again, and how soon: at once after a life that was long enough, and
/// later after each short one, so that a worker that cannot run does not keep the machine busy.
struct RestartBudget {
    private let limit: Int
    /// Restarts so far, of all workers.
    private(set) var used = 0

    /// A worker that has lived this long was healthy.
    static let healthyLife = Duration.seconds(5)
    static let firstDelay = Duration.milliseconds(500)
    static let longestDelay = Duration.seconds(30)

    init(limit: Int) {
        self.limit = limit
    }

    var isSpent: Bool { used >= limit }

    /// Takes one restart, and returns its delay, after this many short lives in a row of the worker.
    mutating func take(shortLives: Int) -> Duration {
        precondition(!isSpent, "a restart that is not there")
        used += 1
        return RestartBudget.delay(shortLives: shortLives)
    }

    /// 0, 0, 0.5 s, 1 s, 2 s, ..., 30 s: the first short life may have been chance.
    static func delay(shortLives: Int) -> Duration {
        guard shortLives > 1 else { return .zero }
        return min(firstDelay * (1 << min(shortLives - 2, 10)), longestDelay)
    }
}
