import Glibc

/// How deep the main thread's stack may become (RLIMIT_STACK, `ulimit -s`). Threads of the library have stacks of their own, of fixed sizes.
package enum StackLimit {
    private static let needed = 256 << 10
    private static let usual = 8 << 20

    /// Raises a limit that is too low, if the hard one allows it, and throws `stack` if not. On Linux that takes effect at once.
    package static func require() throws(ProcessError) {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_STACK.rawValue), &limit) == 0, limit.rlim_cur < rlim_t(needed) else { return }
        let before = UInt64(limit.rlim_max)
        guard limit.rlim_max >= rlim_t(needed) else { throw .stack(neededBytes: needed, limitBytes: before) }
        limit.rlim_cur = min(limit.rlim_max, rlim_t(usual))
        guard setrlimit(__rlimit_resource_t(RLIMIT_STACK.rawValue), &limit) == 0 else { throw .stack(neededBytes: needed, limitBytes: before) }
    }
}
