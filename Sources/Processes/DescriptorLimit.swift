import Glibc

/// How many files, pipes and sockets this process may have open (RLIMIT_NOFILE, `ulimit -n`).
package struct DescriptorLimit: Equatable, Sendable {
    /// What holds, and what the process may raise it to.
    package var soft: UInt64
    package var hard: UInt64

    package init(soft: UInt64, hard: UInt64) {
        self.soft = soft
        self.hard = hard
    }

    package static func current() -> DescriptorLimit {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return DescriptorLimit(soft: .max, hard: .max) }
        return DescriptorLimit(soft: UInt64(limit.rlim_cur), hard: UInt64(limit.rlim_max))
    }

    /// Makes sure that so many may be open: raises the soft limit to the hard one where it is too low, and throws `descriptors` where even that
    /// does not do. `purpose` is what needs them: "a launcher of 16 workers".
    ///
    /// Where the soft limit does it stays as it is, for it passes to what the process starts, and there are programs that cannot use descriptors
    /// beyond 1023.
    package static func require(_ needed: Int, for purpose: String) throws(ProcessError) {
        let limit = current()
        switch limit.answer(to: UInt64(max(needed, 0))) {
        case .enough: return
        case .raise:
            var raised = rlimit(rlim_cur: rlim_t(limit.hard), rlim_max: rlim_t(limit.hard))
            if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &raised) != 0 { fallthrough }
        case .refuse:
            throw .descriptors(needed: needed, limit: limit, purpose: purpose)
        }
    }

    package enum Answer: Equatable {
        case enough, raise, refuse
    }

    package func answer(to needed: UInt64) -> Answer {
        if soft >= needed { return .enough }
        return hard >= needed ? .raise : .refuse
    }
}
