import TestSupport
import Testing
import Wire

/// Two state machines talking through arrays: no sockets.
@Suite struct HandshakeTests {
    /// What each side ended with, after all that both sent was delivered in pieces of `piece` bytes.
    private func converse(
        _ connector: consuming Handshake, _ acceptor: consuming Handshake, piece: Int = 1 << 20
    ) -> (connector: Handshake.Action, acceptor: Handshake.Action) {
        var toAcceptor = connector.hello
        var toConnector: [UInt8] = []
        var ends = (connector: Handshake.Action.wait, acceptor: Handshake.Action.wait)
        func isOpen(_ action: Handshake.Action) -> Bool {
            switch action {
            case .wait, .send: true
            case .established, .fail: false
            }
        }
        while (!toAcceptor.isEmpty && isOpen(ends.acceptor)) || (!toConnector.isEmpty && isOpen(ends.connector)) {
            if !toAcceptor.isEmpty, isOpen(ends.acceptor) {
                let bytes = toAcceptor.prefix(piece)
                toAcceptor.removeFirst(bytes.count)
                ends.acceptor = acceptor.receive(bytes)
                if case .send(let answer) = ends.acceptor { toConnector += answer }
                if case .established(_, let answer, _) = ends.acceptor { toConnector += answer }
            }
            if !toConnector.isEmpty, isOpen(ends.connector) {
                let bytes = toConnector.prefix(piece)
                toConnector.removeFirst(bytes.count)
                ends.connector = connector.receive(bytes)
                if case .send(let answer) = ends.connector { toAcceptor += answer }
            }
        }
        return ends
    }

    private func introduction(rank: UInt32, generation: UInt32 = 3, purpose: Introduction.Purpose = .ring) -> Introduction {
        Introduction(purpose: purpose, generation: generation, rank: rank, channel: 1)
    }

    @Test(arguments: [1, 2, 7, 67, 68, 69, 100, 1000])
    func bothSidesLearnWhoThePeerIs(piece: Int) throws {
        let secret = try Secret.random()
        let ends = converse(
            try .connecting(secret: secret, own: introduction(rank: 1), expectedRank: 2),
            .accepting(secret: secret, own: introduction(rank: 2), expectedRank: 1), piece: piece)
        #expect(ends.connector == .established(peer: introduction(rank: 2), send: [], rest: []))
        #expect(ends.acceptor == .established(peer: introduction(rank: 1), send: [0, 0, 0, 0], rest: []))
    }

    @Test func bytesAfterTheVerdictAreHandedOn() throws {
        let secret = try Secret.random()
        var connector = try Handshake.connecting(secret: secret, own: introduction(rank: 1), expectedRank: nil)
        var acceptor = Handshake.accepting(secret: secret, own: introduction(rank: 2))
        guard case .send(let welcome) = acceptor.receive(connector.hello),
            case .send(let proof) = connector.receive(welcome),
            case .established(_, let verdict, let early) = acceptor.receive(proof + [9, 9])
        else { throw WireError.refused("the handshake did not come to its end") }
        #expect(early == [9, 9])
        #expect(connector.receive(verdict + [7, 8]) == .established(peer: introduction(rank: 2), send: [], rest: [7, 8]))
    }

    @Test func anotherSecretIsAnotherJob() throws {
        let ends = converse(
            try .connecting(secret: try .random(), own: introduction(rank: 1), expectedRank: nil),
            .accepting(secret: try .random(), own: introduction(rank: 2)))
        #expect(ends.acceptor == .fail(.otherJob))
    }

    /// Who has watched a handshake knows the job's identifier, but can prove nothing with it.
    @Test func aReplayedConversationIsRefused() throws {
        let secret = try Secret.random()
        var connector = try Handshake.connecting(secret: secret, own: introduction(rank: 1), expectedRank: nil)
        var first = Handshake.accepting(secret: secret, own: introduction(rank: 2))
        guard case .send(let welcome) = first.receive(connector.hello), case .send(let proof) = connector.receive(welcome)
        else { throw WireError.refused("the handshake did not come to its end") }
        var second = Handshake.accepting(secret: secret, own: introduction(rank: 2))
        _ = second.receive(connector.hello)
        #expect(second.receive(proof) == .fail(.wrongSecret))
    }

    @Test func anAcceptorWithoutTheSecretIsRefused() throws {
        let secret = try Secret.random()
        var connector = try Handshake.connecting(secret: secret, own: introduction(rank: 1), expectedRank: nil)
        // It copies all the public fields from the connector's own hello and guesses the code.
        #expect(connector.receive(connector.hello + [UInt8](repeating: 0, count: 32)) == .fail(.wrongSecret))
    }

    @Test func otherGenerationPurposeAndRankAreRefused() throws {
        let secret = try Secret.random()
        func refusal(_ stranger: Introduction) throws -> Handshake.Action {
            converse(
                try .connecting(secret: secret, own: stranger, expectedRank: nil),
                .accepting(secret: secret, own: introduction(rank: 2), expectedRank: 1)).acceptor
        }
        #expect(try refusal(introduction(rank: 1, generation: 2)) == .fail(.wrongGeneration(theirs: 2, ours: 3)))
        #expect(try refusal(introduction(rank: 1, purpose: .control)) == .fail(.wrongPurpose(1)))
        #expect(try refusal(introduction(rank: 0)) == .fail(.wrongRank(theirs: 0, expected: 1)))
    }

    @Test func aStrayClientIsRefusedByItsFirstBytes() throws {
        var acceptor = Handshake.accepting(secret: try .random(), own: introduction(rank: 0))
        #expect(acceptor.receive(Array("GET / ".utf8)) == .fail(.wrongMagic(0x2054_4547)))
    }

    @Test func anOlderVersionIsNamed() throws {
        let secret = try Secret.random()
        var hello = try Handshake.connecting(secret: secret, own: introduction(rank: 1), expectedRank: nil).hello
        hello[4] = 0
        var acceptor = Handshake.accepting(secret: secret, own: introduction(rank: 0))
        #expect(acceptor.receive(hello) == .fail(.wrongVersion(theirs: 0, ours: Handshake.version)))
    }

    /// Every single bit of every message matters: one that is flipped on the way is noticed by the side that gets it.
    @Test func aFlippedBitAnywhereIsNoticed() throws {
        let secret = try Secret.random()
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<500 {
            var connector = try Handshake.connecting(secret: secret, own: introduction(rank: 1), expectedRank: 2)
            var acceptor = Handshake.accepting(secret: secret, own: introduction(rank: 2), expectedRank: 1)
            var hello = connector.hello
            let damaged = Int.random(in: 0..<3, using: &generator)
            func damage(_ bytes: inout [UInt8]) {
                let bit = Int.random(in: 0..<(bytes.count * 8), using: &generator)
                bytes[bit / 8] ^= 1 << (bit % 8)
            }
            if damaged == 0 { damage(&hello) }
            guard case .send(var welcome) = acceptor.receive(hello) else { continue }
            if damaged == 1 { damage(&welcome) }
            guard case .send(var proof) = connector.receive(welcome) else { continue }
            if damaged == 2 { damage(&proof) }
            if case .established = acceptor.receive(proof) { Issue.record("message \(damaged) was damaged and accepted") }
        }
    }

    /// A million random and mutated inputs: never a trap, never an acceptance, never more than one message kept.
    @Test func hostileBytesAreRefused() throws {
        let secret = try Secret.random()
        let hello = try Handshake.connecting(secret: secret, own: introduction(rank: 1), expectedRank: nil).hello
        var generator = SeededGenerator(seed: 11)
        for round in 0..<60_000 {
            var acceptor = Handshake.accepting(secret: secret, own: introduction(rank: 2))
            if round % 3 == 0 { _ = acceptor.receive(hello) }
            for _ in 0..<4 {
                let count = Int.random(in: 0..<150, using: &generator)
                let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
                if case .established = acceptor.receive(bytes) { Issue.record("random bytes were accepted") }
            }
        }
    }
}
