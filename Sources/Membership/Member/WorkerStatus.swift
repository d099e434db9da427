/// What a worker's exit status tells its launcher, beside success and failure.
public enum WorkerStatus {
    /// The worker ended because another one did, or because the coordinator refused it: it is not to blame. The number
    /// is sysexits.h's EX_PROTOCOL.
    public static let peerLost: Int32 = 76
    /// The worker stopped before the end because it was asked to, after it had written a checkpoint. The number is
    /// sysexits.h's EX_TEMPFAIL: to be tried again.
    public static let stopped: Int32 = 75
}
