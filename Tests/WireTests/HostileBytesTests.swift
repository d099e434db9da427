import TestSupport
import Testing
import Wire

/// Bytes of an enemy's choice: refused, never a trap. Random bytes get no further than the first check, so that most inputs here are
/// right ones with damage.
@Suite struct HostileBytesTests {
    private func randomBytes(_ count: Int, _ generator: inout SeededGenerator) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
    }

    /// Changes one to four bytes to values of the kind that break things.
    private func damage(_ bytes: inout [UInt8], _ generator: inout SeededGenerator) {
        for _ in 0...(generator.next() % 4) where !bytes.isEmpty {
            let place = Int(generator.next() % UInt64(bytes.count))
            bytes[place] = [0, 1, 0x7F, 0x80, 0xFF, UInt8(truncatingIfNeeded: generator.next())][Int(generator.next() % 6)]
        }
    }

    @Test func damagedHeadersAreReadOrRefused() throws {
        var generator = SeededGenerator(seed: 21)
        var right = [UInt8](repeating: 0, count: FrameHeader.byteCount)
        right.withUnsafeMutableBytes {
            FrameHeader(
                generation: 7, operation: 3, slice: 9, hop: 1, signature: 0x0011, payloadBytes: 4096, elementCount: 5000
            ).encode(into: $0.baseAddress!)
        }
        var taken = 0
        for round in 0..<450_000 {
            var bytes = round % 8 == 0 ? randomBytes(FrameHeader.byteCount, &generator) : right
            if round % 8 != 0 { damage(&bytes, &generator) }
            let header = bytes.withUnsafeBytes {
                try? FrameHeader(decoding: $0.baseAddress!, generation: 7, payloadLimit: 4096)
            }
            guard let header else { continue }
            taken += 1
            if header.generation != 7 || header.payloadBytes > 4096 { Issue.record("taken: \(header)") }
        }
        #expect(taken > 100_000, "the damage is such that nothing but the first check is tested")
    }

    @Test func damagedControlMessagesAreReadOrRefused() throws {
        var generator = SeededGenerator(seed: 22)
        let bodies = ControlMessageTests.messages.map { Array($0.encoded.dropFirst(4)) }
        var taken = 0
        for round in 0..<250_000 {
            var body = bodies[round % bodies.count]
            damage(&body, &generator)
            if round % 5 == 0 { body.removeLast(min(body.count, Int(generator.next() % 8))) }
            if round % 7 == 0 { body += randomBytes(Int(generator.next() % 8), &generator) }
            guard let message = try? ControlMessage(body: body) else { continue }
            taken += 1
            // What was understood can be said again.
            if case .ring(let ring) = message, ring.members.count * 14 + ring.retiring.count * 4 > body.count {
                Issue.record("\(ring.members.count) members, \(ring.retiring.count) retiring")
            }
            if (try? ControlMessage(body: Array(message.encoded.dropFirst(4)))) == nil { Issue.record("\(message)") }
        }
        #expect(taken > 10_000)
    }

    /// A count of members that would take gigabytes is refused by the bytes that are there.
    @Test func aCountIsCheckedBeforeItIsBelieved() {
        let body: [UInt8] = [3, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF] + [UInt8](repeating: 0, count: 100)
        #expect(throws: WireError.self) { try ControlMessage(body: body) }
    }

    /// The connecting side against an acceptor that does not know the secret: whatever it makes of what it may have seen.
    @Test func hostileAcceptorsAreRefused() throws {
        let secret = try Secret.random()
        let own = Introduction(purpose: .ring, generation: 3, rank: 1)
        let fresh = try Handshake.connecting(secret: secret, own: own, expectedRank: 2)
        var acceptor = Handshake.accepting(secret: secret, own: Introduction(purpose: .ring, generation: 3, rank: 2))
        guard case .send(let seen) = acceptor.receive(fresh.hello) else { throw WireError.refused("no welcome") }
        var generator = SeededGenerator(seed: 23)
        for round in 0..<60_000 {
            var connector = try Handshake.connecting(secret: secret, own: own, expectedRank: 2)
            var welcome = seen
            if round % 2 == 0 { damage(&welcome, &generator) }
            if round % 3 == 0 { welcome = randomBytes(Int(generator.next() % 200), &generator) }
            let action = connector.receive(welcome)
            switch action {
            case .send, .established: Issue.record("round \(round): \(action)")
            case .wait, .fail: break
            }
        }
    }
}
