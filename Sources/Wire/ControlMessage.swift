/// A member of the ring as the coordinator announces it.
public struct MemberAddress: Sendable, Equatable {
    public var rank: UInt32
    /// Where it accepts its left neighbour's ring connection.
    public var host: String
    public var port: UInt16
    /// The name that its machine calls itself, and its process there: for messages to people.
    public var hostName: String
    public var processID: Int32

    public init(rank: UInt32, host: String, port: UInt16, hostName: String, processID: Int32) {
        self.rank = rank
        self.host = host
        self.port = port
        self.hostName = hostName
        self.processID = processID
    }
}

/// What a worker and the coordinator say to each other after their handshake.
///
/// On the wire: the body's length as 32 bits, then the body: one byte of kind and the fields in order, little-endian.
public enum ControlMessage: Sendable, Equatable {
    /// Worker: I am here, in a world of this size, and accept ring connections there.
    case join(worldSize: UInt32, member: MemberAddress)
    /// Worker: my work is done; my going is no loss.
    case leave
    /// Worker: nothing has come from that rank for the whole time-out, of so many milliseconds, in which operations were under way.
    case stalled(waitingFor: UInt32, limitMilliseconds: UInt32)
    /// Coordinator: everyone has joined; these are the members, in order of rank.
    case ring(generation: UInt32, members: [MemberAddress])
    /// Coordinator: you cannot be a member, or the ring cannot be formed.
    case refuse(reason: String)
    /// Coordinator: a member went without leaving.
    case lost(rank: UInt32, cause: String)
    /// Coordinator: all members have left; nobody needs anybody any more.
    case over

    /// 65,536 members of a hundred bytes each would still fit; anything longer is not from a coordinator.
    public static let longestBody = 8 << 20

    private enum Kind: UInt8 {
        case join = 1
        case leave, ring, refuse, lost, over, stalled
    }

    /// The message with its length in front.
    public var encoded: [UInt8] {
        var body = ByteWriter()
        switch self {
        case .join(let worldSize, let member):
            body.append(Kind.join.rawValue)
            body.append(worldSize)
            ControlMessage.append(member, to: &body)
        case .leave:
            body.append(Kind.leave.rawValue)
        case .ring(let generation, let members):
            body.append(Kind.ring.rawValue)
            body.append(generation)
            body.append(UInt32(members.count))
            for member in members { ControlMessage.append(member, to: &body) }
        case .refuse(let reason):
            body.append(Kind.refuse.rawValue)
            body.append(text: reason)
        case .lost(let rank, let cause):
            body.append(Kind.lost.rawValue)
            body.append(rank)
            body.append(text: cause)
        case .over:
            body.append(Kind.over.rawValue)
        case .stalled(let waitingFor, let limitMilliseconds):
            body.append(Kind.stalled.rawValue)
            body.append(waitingFor)
            body.append(limitMilliseconds)
        }
        var frame = ByteWriter()
        frame.append(UInt32(body.bytes.count))
        frame.append(body.bytes)
        return frame.bytes
    }

    /// Reads one body. Every count is checked against the bytes that are there before anything is allocated for it.
    public init(body: [UInt8]) throws(WireError) {
        var reader = ByteReader(body)
        let kind = try reader.read(UInt8.self)
        switch Kind(rawValue: kind) {
        case .join:
            self = .join(worldSize: try reader.read(), member: try ControlMessage.member(from: &reader))
        case .leave:
            self = .leave
        case .ring:
            let generation = try reader.read(UInt32.self)
            let count = try reader.read(UInt32.self)
            guard Int(count) <= reader.remaining / 14 else { throw .truncated(needed: Int(count) * 14, left: reader.remaining) }
            var members: [MemberAddress] = []
            for _ in 0..<count { members.append(try ControlMessage.member(from: &reader)) }
            self = .ring(generation: generation, members: members)
        case .refuse:
            self = .refuse(reason: try reader.readText())
        case .lost:
            self = .lost(rank: try reader.read(), cause: try reader.readText())
        case .over:
            self = .over
        case .stalled:
            self = .stalled(waitingFor: try reader.read(), limitMilliseconds: try reader.read())
        case nil:
            throw .unknownKind(kind)
        }
        try reader.finish()
    }

    private static func append(_ member: MemberAddress, to writer: inout ByteWriter) {
        writer.append(member.rank)
        writer.append(text: member.host, limit: 255)
        writer.append(member.port)
        writer.append(text: member.hostName, limit: 255)
        writer.append(member.processID)
    }

    private static func member(from reader: inout ByteReader) throws(WireError) -> MemberAddress {
        MemberAddress(
            rank: try reader.read(), host: try reader.readText(), port: try reader.read(), hostName: try reader.readText(),
            processID: try reader.read())
    }
}
