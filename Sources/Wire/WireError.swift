/// What can be wrong with bytes that came from a peer. None of these is ever a trap.
public enum WireError: Error, Equatable, CustomStringConvertible {
    /// A message ends before its fields do.
    case truncated(needed: Int, left: Int)
    /// A message goes on behind its fields.
    case trailingBytes(Int)
    /// The connection does not begin as one of Lockstep's does.
    case wrongMagic(UInt32)
    /// The peer is another build.
    case wrongVersion(theirs: UInt16, ours: UInt16)
    /// No message has this kind.
    case unknownKind(UInt8)
    /// Flags that mean nothing.
    case unknownFlags(UInt8)
    /// A payload, or a message, is longer than any can be.
    case frameTooLong(bytes: Int, limit: Int)
    /// The peer is in another generation of the ring.
    case wrongGeneration(theirs: UInt32, ours: UInt32)
    /// The peer has another secret, and says so.
    case otherJob
    /// The peer could not prove that it has the secret.
    case wrongSecret
    /// The port serves connections for something else.
    case wrongPurpose(UInt8)
    /// Another rank was expected on this connection.
    case wrongRank(theirs: UInt32, expected: UInt32)
    /// The accepting side did not say welcome.
    case refused(String)
    /// The text is no secret.
    case malformedSecret
    /// The system gave no random bytes.
    case noRandomness

    public var description: String {
        switch self {
        case .truncated(let needed, let left):
            "message cut short: \(needed) more bytes expected, \(left) left"
        case .trailingBytes(let count):
            "message has \(count) bytes that its format does not know"
        case .wrongMagic(let magic):
            "not a Lockstep connection (it began with 0x\(String(magic, radix: 16)))"
        case .wrongVersion(let theirs, let ours):
            "peer speaks protocol version \(theirs), this build speaks \(ours): use one build of Lockstep everywhere"
        case .unknownKind(let kind):
            "unknown message kind \(kind)"
        case .unknownFlags(let flags):
            "unknown flags \(flags) in a message"
        case .frameTooLong(let bytes, let limit):
            "frame of \(bytes) bytes is over the limit of \(limit)"
        case .wrongGeneration(let theirs, let ours):
            "peer is of generation \(theirs), the ring of generation \(ours)"
        case .otherJob:
            "peer belongs to another job: check MASTER_ADDR, MASTER_PORT and LOCKSTEP_SECRET"
        case .wrongSecret:
            "peer did not prove that it knows the job's secret: give every worker the same LOCKSTEP_SECRET"
        case .wrongPurpose(let purpose):
            "connection of purpose \(purpose) came to a port that serves another"
        case .wrongRank(let theirs, let expected):
            "rank \(theirs) came where rank \(expected) was expected"
        case .refused(let reason):
            "refused by the peer: \(reason)"
        case .malformedSecret:
            "LOCKSTEP_SECRET must be 64 hexadecimal digits (make one with: openssl rand -hex 32)"
        case .noRandomness:
            "the system gave no random bytes"
        }
    }
}
