import EventLoop

/// One life of a worker: a rank's first process on this host, or one of those that came after it.
///
/// What is said of a life stays true when the rank's next one has begun.
package struct Life: Hashable, Sendable {
    /// Among this host's workers.
    package let rank: Int
    /// 0 for the first.
    package let number: Int

    package init(rank: Int, number: Int = 0) {
        self.rank = rank
        self.number = number
    }
}

/// A life that is over, and how it ended.
struct EndedLife {
    let life: Life
    let ending: ChildProcess.Ending

    var rank: Int { life.rank }
}
