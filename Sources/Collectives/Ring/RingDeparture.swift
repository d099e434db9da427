/// Why a worker goes although the job does not end with it: no failure, and its process ends with status 0.
public enum RingDeparture: Error, Equatable, CustomStringConvertible {
    /// The job was asked to go on with fewer workers, and this is one of those that are not needed.
    case retired
    /// The job came to its end before this newcomer was let in.
    case over

    public var description: String {
        switch self {
        case .retired: "this worker was asked to go; the others go on without it"
        case .over: "the job came to its end before this worker was let in"
        }
    }
}
