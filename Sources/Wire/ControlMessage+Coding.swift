extension ControlMessage {
    private enum Kind: UInt8 {
        case join = 1
        case leave, ring, refuse, lost, over, stalled, pong, complain, claim, interrupt, wantsReform, prepare, retire, ping, claimed
        case scale, scaled, linkEnded, begun, failing
    }

    /// The number of kinds, for tests that make bytes up.
    package static let kindCount = Kind.failing.rawValue
    private static let noPiece = UInt32.max

    private var kind: Kind {
        switch self {
        case .join: .join
        case .leave: .leave
        case .ring: .ring
        case .refuse: .refuse
        case .lost: .lost
        case .over: .over
        case .stalled: .stalled
        case .pong: .pong
        case .complain: .complain
        case .claim: .claim
        case .interrupt: .interrupt
        case .wantsReform: .wantsReform
        case .prepare: .prepare
        case .retire: .retire
        case .ping: .ping
        case .claimed: .claimed
        case .scale: .scale
        case .scaled: .scaled
        case .linkEnded: .linkEnded
        case .begun: .begun
        case .failing: .failing
        }
    }

    /// The message with its length in front.
    public var encoded: [UInt8] {
        var body = ByteWriter()
        body.append(kind.rawValue)
        switch self {
        case .leave, .over, .pong, .wantsReform, .prepare, .retire, .ping, .begun:
            break
        case .join(let join):
            body.append(join.generation)
            body.append(UInt8((join.isOpen ? 1 : 0) | (join.isBoundary ? 2 : 0)))
            body.append(join.worldSize)
            ControlMessage.append(join.member, to: &body)
        case .ring(let ring):
            body.append(ring.generation)
            body.append(UInt8(ring.stop == nil ? 0 : 1))
            body.append(text: ring.stop ?? "")
            body.append(UInt32(ring.members.count))
            for member in ring.members { ControlMessage.append(member, to: &body) }
            body.append(UInt32(ring.retiring.count))
            for rank in ring.retiring { body.append(rank) }
        case .refuse(let text), .interrupt(let text), .scaled(let text), .failing(let text):
            body.append(text: text)
        case .lost(let rank, let cause), .complain(let rank, let cause), .linkEnded(let rank, let cause):
            body.append(rank)
            body.append(text: cause)
        case .stalled(let waitingFor, let limitMilliseconds):
            body.append(waitingFor)
            body.append(limitMilliseconds)
        case .claim(let generation, let section, let count):
            body.append(generation)
            body.append(section)
            body.append(count)
        case .claimed(let generation, let section, let piece):
            body.append(generation)
            body.append(section)
            body.append(piece ?? ControlMessage.noPiece)
        case .scale(let workers):
            body.append(workers)
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
        case .join: self = .join(try ControlMessage.join(from: &reader))
        case .ring: self = .ring(try ControlMessage.ring(from: &reader))
        case .leave: self = .leave
        case .over: self = .over
        case .pong: self = .pong
        case .wantsReform: self = .wantsReform
        case .prepare: self = .prepare
        case .retire: self = .retire
        case .ping: self = .ping
        case .begun: self = .begun
        case .refuse: self = .refuse(reason: try reader.readText())
        case .interrupt: self = .interrupt(cause: try reader.readText())
        case .scaled: self = .scaled(text: try reader.readText())
        case .lost: self = .lost(rank: try reader.read(), cause: try reader.readText())
        case .complain: self = .complain(rank: try reader.read(), cause: try reader.readText())
        case .linkEnded: self = .linkEnded(rank: try reader.read(), cause: try reader.readText())
        case .failing: self = .failing(reason: try reader.readText())
        case .stalled: self = .stalled(waitingFor: try reader.read(), limitMilliseconds: try reader.read())
        case .claim: self = .claim(generation: try reader.read(), section: try reader.read(), count: try reader.read())
        case .claimed:
            let (generation, section, piece): (UInt32, UInt64, UInt32) = (try reader.read(), try reader.read(), try reader.read())
            self = .claimed(generation: generation, section: section, piece: piece == ControlMessage.noPiece ? nil : piece)
        case .scale: self = .scale(workers: try reader.read())
        case nil: throw .unknownKind(kind)
        }
        try reader.finish()
    }

    private static func join(from reader: inout ByteReader) throws(WireError) -> Join {
        let generation = try reader.read(UInt32.self)
        let flags = try reader.read(UInt8.self)
        guard flags < 4 else { throw .unknownFlags(flags) }
        return Join(
            generation: generation, isOpen: flags & 1 != 0, isBoundary: flags & 2 != 0, worldSize: try reader.read(),
            member: try member(from: &reader))
    }

    private static func ring(from reader: inout ByteReader) throws(WireError) -> RingAnnouncement {
        let generation = try reader.read(UInt32.self)
        let flags = try reader.read(UInt8.self)
        guard flags < 2 else { throw .unknownFlags(flags) }
        let stop = try reader.readText()
        let count = try reader.read(UInt32.self)
        guard Int(count) <= reader.remaining / 16 else { throw .truncated(needed: Int(count) * 16, left: reader.remaining) }
        var members: [MemberAddress] = []
        for _ in 0..<count { members.append(try member(from: &reader)) }
        let retiringCount = try reader.read(UInt32.self)
        guard Int(retiringCount) <= reader.remaining / 4 else { throw .truncated(needed: Int(retiringCount) * 4, left: reader.remaining) }
        var retiring: [UInt32] = []
        for _ in 0..<retiringCount { retiring.append(try reader.read()) }
        return RingAnnouncement(generation: generation, members: members, retiring: retiring, stop: flags == 1 ? stop : nil)
    }

    private static func append(_ member: MemberAddress, to writer: inout ByteWriter) {
        writer.append(member.rank)
        writer.append(text: member.host, limit: 255)
        writer.append(member.port)
        writer.append(text: member.hostName, limit: 255)
        writer.append(member.processID)
        writer.append(member.successorPort)
    }

    private static func member(from reader: inout ByteReader) throws(WireError) -> MemberAddress {
        MemberAddress(
            rank: try reader.read(), host: try reader.readText(), port: try reader.read(), hostName: try reader.readText(),
            processID: try reader.read(), successorPort: try reader.read())
    }
}
