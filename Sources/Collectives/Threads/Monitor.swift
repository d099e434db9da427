import Glibc

/// State shared by the compute thread and the ring's threads: a lock, and for each of two sides a condition to wait for. Nobody
/// allocates, and a side that does not wait is not woken.
final class Monitor<State>: @unchecked Sendable {
    // SAFETY (@unchecked Sendable): `state` and `waiting` are touched only between lock and unlock.

    /// Who waits. A wake-up costs as much as a small operation, so each side is woken only for what it waits for.
    enum Side: Int {
        case computeThread
        case ringThread
    }

    private var state: State
    private var waiting = (computeThread: 0, ringThread: 0)
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    /// One for each side.
    private let conditions = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 2)

    init(_ state: consuming State) {
        self.state = state
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        // Deadlines must not move when somebody sets the clock.
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(conditions, &attributes)
        pthread_cond_init(conditions + 1, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(conditions)
        pthread_cond_destroy(conditions + 1)
        pthread_mutex_destroy(mutex)
        conditions.deallocate()
        mutex.deallocate()
    }

    /// Reads or changes the state, in a way that nobody waits for. Short: another thread may be at the lock.
    func withLock<Result>(_ body: (inout State) -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body(&state)
    }

    /// Changes the state and wakes a side if it waits.
    @discardableResult
    func notify<Result>(_ side: Side, _ body: (inout State) -> Result) -> Result {
        pthread_mutex_lock(mutex)
        let result = body(&state)
        let isWaiting = (side == .computeThread ? waiting.computeThread : waiting.ringThread) > 0
        pthread_mutex_unlock(mutex)
        if isWaiting { pthread_cond_broadcast(conditions + side.rawValue) }
        return result
    }

    /// Waits on a side until `body` gives a value; it is asked again after every `notify` of that side.
    func wait<Result>(_ side: Side, until body: (inout State) -> Result?) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if let result = body(&state) { return result }
            count(side, 1)
            pthread_cond_wait(conditions + side.rawValue, mutex)
            count(side, -1)
        }
    }

    /// Waits as `wait(_:until:)` does, for `limit` at most; nil when the time is up.
    func wait<Result>(_ side: Side, for limit: Duration, until body: (inout State) -> Result?) -> Result? {
        var deadline = timespec()
        clock_gettime(CLOCK_MONOTONIC, &deadline)
        let (seconds, attoseconds) = limit.components
        let nanoseconds = deadline.tv_nsec + Int(attoseconds / 1_000_000_000)
        deadline.tv_sec += Int(seconds) + nanoseconds / 1_000_000_000
        deadline.tv_nsec = nanoseconds % 1_000_000_000
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if let result = body(&state) { return result }
            count(side, 1)
            let code = pthread_cond_timedwait(conditions + side.rawValue, mutex, &deadline)
            count(side, -1)
            if code == ETIMEDOUT { return body(&state) }
        }
    }

    private func count(_ side: Side, _ change: Int) {
        switch side {
        case .computeThread: waiting.computeThread += change
        case .ringThread: waiting.ringThread += change
        }
    }
}
