import TestSupport
import Testing
import Wire

@Suite struct ControlMessageTests {
    private static let member = MemberAddress(rank: 3, host: "fe80::1", port: 29500, hostName: "höst", processID: 42)
    static let messages: [ControlMessage] = [
        .join(.init(worldSize: 4, member: member)), .join(.init(generation: 7, isOpen: true, worldSize: 4, member: member)),
        .join(.init(generation: 7, isBoundary: true, worldSize: 4, member: member)), .leave,
        .stalled(waitingFor: 7, limitMilliseconds: 1500), .pong, .complain(rank: 3, cause: "no route"),
        .claim(generation: 3, section: 1 << 40, count: 64),
        .ring(.init(generation: 9, members: [member, member], retiring: [3, 1 << 31])), .ring(.init(generation: 0, members: [], stop: "too few")),
        .refuse(reason: "no"), .lost(rank: 2, cause: ""), .interrupt(cause: "why"), .wantsReform, .prepare, .retire, .ping, .over,
        .claimed(generation: 3, section: 9, piece: 4), .claimed(generation: 3, section: 9, piece: nil), .scale(workers: 6),
        .scaled(text: "yes"), .linkEnded(rank: 3, cause: "closed"), .begun, .failing(reason: "no such flag"),
        .join(.init(worldSize: 2, member: .init(rank: 1, host: "h", port: 1, hostName: "h", processID: 2, successorPort: 700))),
    ]

    @Test(arguments: messages)
    func roundTrip(message: ControlMessage) throws {
        let bytes = message.encoded
        #expect(Int(bytes[0]) | Int(bytes[1]) << 8 == bytes.count - 4)
        #expect(try ControlMessage(body: Array(bytes.dropFirst(4))) == message)
    }

    /// Cut anywhere, or with a byte too many, it is an error.
    @Test(arguments: messages)
    func everyLengthButTheRightOneIsRefused(message: ControlMessage) {
        let body = Array(message.encoded.dropFirst(4))
        for count in 0..<body.count {
            #expect(throws: WireError.self) { try ControlMessage(body: Array(body.prefix(count))) }
        }
        #expect(throws: WireError.trailingBytes(1)) { try ControlMessage(body: body + [0]) }
    }

    @Test func randomBytesNeverTrap() {
        var generator = SeededGenerator(seed: 17)
        for _ in 0..<200_000 {
            var body = (0..<Int.random(in: 0..<40, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator) }
            if !body.isEmpty { body[0] %= ControlMessage.kindCount + 2 }
            _ = try? ControlMessage(body: body)
        }
    }
}
