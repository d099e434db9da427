import TestSupport
import Testing
import Wire

@Suite struct ControlMessageTests {
    private static let member = MemberAddress(rank: 3, host: "fe80::1", port: 29500, hostName: "höst", processID: 42)
    static let messages: [ControlMessage] = [
        .join(worldSize: 4, member: member), .leave, .ring(generation: 9, members: [member, member]),
        .ring(generation: 0, members: []), .refuse(reason: "no"), .lost(rank: 2, cause: ""), .over,
        .stalled(waitingFor: 7, limitMilliseconds: 1500),
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
            if !body.isEmpty { body[0] %= 9 }
            _ = try? ControlMessage(body: body)
        }
    }
}
