import Glibc

/// What the system does not give this process.
package enum ProcessError: Error, Equatable, CustomStringConvertible {
    /// A thread; EAGAIN is a limit on their number.
    case thread(purpose: String, errno: Int32)
    /// As many open descriptors as what is to be done needs.
    case descriptors(needed: Int, limit: DescriptorLimit, purpose: String)
    /// A stack that is deep enough.
    case stack(neededBytes: Int, limitBytes: UInt64)

    package var description: String {
        switch self {
        case .thread(let purpose, EAGAIN):
            "cannot start the thread that \(purpose): the system allows no more; raise ulimit -u, or the pids.max of the cgroup"
        case .thread(let purpose, ENOMEM):
            "cannot start the thread that \(purpose): there is no memory for it; raise ulimit -v"
        case .thread(let purpose, let errno):
            "cannot start the thread that \(purpose): \(String(cString: strerror(errno)))"
        case .descriptors(let needed, let limit, let purpose):
            "\(purpose) needs \(needed) open files, and the limit is \(limit.hard): raise it (ulimit -n \(needed)), or start fewer workers"
        case .stack(let needed, let limit):
            "the stack may have \(limit / 1024) KiB, and \(needed / 1024) are needed: raise ulimit -s"
        }
    }
}
