/// Which micro-batches a worker takes.
public enum MicroBatchAssignment: String, Sendable, CaseIterable {
    /// As many as any other, known beforehand.
    case fixed = "static"
    /// Whichever is next when it is free: a slow worker takes fewer.
    case dynamic
}
