/// How long a thread looks for bytes before it sleeps: a wake-up costs more than a small message takes, but looking takes a core from
/// whoever could send the message, where there are not enough cores for both.
///
/// What was found while looking makes the next look as long as it may be; a look in vain halves the next one. Once looks are too short
/// to find anything there is a long one now and then, since the load of a machine changes.
struct AdaptiveSpin {
    private let longest: Duration
    private var current: Duration
    private var sleepsSince = 0

    private static let shortest = Duration.microseconds(5)
    private static let sleepsBetweenTrials = 64

    /// `longest` is zero for never.
    init(longest: Duration) {
        self.longest = longest
        current = longest
    }

    /// How long to look now.
    mutating func next() -> Duration {
        if current >= AdaptiveSpin.shortest || longest == .zero { return current }
        sleepsSince += 1
        guard sleepsSince >= AdaptiveSpin.sleepsBetweenTrials else { return .zero }
        sleepsSince = 0
        return longest
    }

    /// What came of the last look.
    mutating func looked(found: Bool) {
        if found {
            current = longest
        } else if current >= AdaptiveSpin.shortest {
            current /= 2
        }
    }
}
