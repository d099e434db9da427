/// The run was asked to stop, and all ranks have, at the same step.
public struct RunStopped: Error, Equatable, CustomStringConvertible {
    /// Steps that have been committed.
    public let step: Int

    public init(step: Int) {
        self.step = step
    }

    public var description: String { "stopped on request after step \(step)" }
}
