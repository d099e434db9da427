/// Who a connection is from and what it is for: the part of the handshake that both sides sign.
public struct Introduction: Sendable, Equatable {
    /// What a connection carries. A port serves one purpose; a connection for another is refused.
    public enum Purpose: UInt8, Sendable {
        /// Between a worker and the coordinator.
        case control = 1
        /// Between two workers.
        case ring = 2
        /// Not a worker, but somebody who asks something of the job.
        case client = 3
    }

    /// What the connection is for.
    public var purpose: Purpose
    /// The generation of a ring connection; 0 for others.
    public var generation: UInt32
    /// The sender's rank; the coordinator, which has none, uses `Introduction.coordinatorRank`.
    public var rank: UInt32
    /// Tells apart the several connections that one pair of ranks may have.
    public var channel: UInt32

    /// The rank that stands for the coordinator.
    public static let coordinatorRank = UInt32.max

    /// The introduction of one side.
    public init(purpose: Purpose, generation: UInt32, rank: UInt32, channel: UInt32 = 0) {
        self.purpose = purpose
        self.generation = generation
        self.rank = rank
        self.channel = channel
    }
}

/// The mutual proof that opens every Lockstep connection, as a pure state machine: bytes in, actions out.
///
///     connector -> acceptor   hello    magic, version, purpose, job, generation, rank, channel, nonce C
///     acceptor -> connector   welcome  the same fields of the acceptor, nonce A, HMAC("acceptor", hello ++ fields)
///     connector -> acceptor   proof    HMAC("connector", hello ++ welcome)
///     acceptor -> connector   verdict  0: welcome
///
/// Each message has a fixed size, so nothing is allocated by a peer's wish. Until `.established` nothing else is read.
/// A peer that fails is told nothing beyond the close of the connection. The scheme is the usual challenge and response
/// with both nonces under the code (ISO/IEC 9798-4, three-pass mutual authentication); what follows on the connection
/// is authenticated by TCP alone and is not encrypted.
public struct Handshake: ~Copyable {
    /// What a hello and a welcome begin with.
    public static let magic: UInt32 = 0x5053_4B4C  // "LKSP", little-endian
    /// Raised by whatever changes what is said on connections, and by whatever changes a run's bits: builds that would
    /// not agree do not meet.
    public static let version: UInt16 = 6
    static let helloBytes = 68
    static let welcomeBytes = 68 + 32
    static let proofBytes = 32
    static let verdictBytes = 4
    static let nonceBytes = 32

    /// What the driver does next.
    public enum Action: Equatable, Sendable {
        /// More bytes are needed; nothing to do.
        case wait
        /// Send these bytes.
        case send([UInt8])
        /// The peer has proved itself. `send` goes out first if it is not empty; `rest` are bytes that came after.
        case established(peer: Introduction, send: [UInt8], rest: [UInt8])
        /// Close the connection, for this reason.
        case fail(WireError)
    }

    private enum State {
        case expectingHello
        case expectingWelcome(hello: [UInt8])
        case expectingProof(peer: Introduction, transcript: [UInt8])
        case expectingVerdict(peer: Introduction)
        case ended
    }

    /// What the connecting side sends before it hears anything; empty on the accepting side.
    public let hello: [UInt8]

    /// Whom the connecting side says that it is, proven or not: for messages to people, where it is turned away.
    public private(set) var claim: Introduction?

    private let secret: Secret
    private let own: Introduction
    private let expectedRank: UInt32?
    /// What a connection may be for.
    private let purposes: [Introduction.Purpose]
    private var state: State
    private var buffer: [UInt8] = []

    /// The side that connected; it sends `hello` first. `expectedRank` is the acceptor's, where it is known.
    public static func connecting(
        secret: Secret, own: Introduction, expectedRank: UInt32?
    ) throws(WireError) -> Handshake {
        let hello = fields(of: own, secret: secret, nonce: try Secret.randomBytes(nonceBytes))
        return Handshake(
            secret: secret, own: own, expectedRank: expectedRank, purposes: [own.purpose],
            state: .expectingWelcome(hello: hello), hello: hello)
    }

    /// The side that accepted. Its purpose is `own.purpose`, or one of `otherPurposes` if that is the peer's.
    public static func accepting(
        secret: Secret, own: Introduction, expectedRank: UInt32? = nil, otherPurposes: [Introduction.Purpose] = []
    ) -> Handshake {
        Handshake(
            secret: secret, own: own, expectedRank: expectedRank, purposes: [own.purpose] + otherPurposes, state: .expectingHello,
            hello: [])
    }

    private init(
        secret: Secret, own: Introduction, expectedRank: UInt32?, purposes: [Introduction.Purpose], state: State, hello: [UInt8]
    ) {
        self.hello = hello
        self.purposes = purposes
        self.secret = secret
        self.own = own
        self.expectedRank = expectedRank
        self.state = state
    }

    /// How many more bytes the message that is awaited has: a driver reads no further than that.
    public var bytesWanted: Int {
        max(0, expectedBytes - buffer.count)
    }

    private var expectedBytes: Int {
        switch state {
        case .expectingHello: Handshake.helloBytes
        case .expectingWelcome: Handshake.welcomeBytes
        case .expectingProof: Handshake.proofBytes
        case .expectingVerdict: Handshake.verdictBytes
        case .ended: 0
        }
    }

    /// Takes bytes from the peer. After `.fail` or `.established` the handshake is over and takes no more.
    public mutating func receive(_ bytes: some Collection<UInt8>) -> Action {
        if case .ended = state { return .fail(.trailingBytes(bytes.count)) }
        // A legal peer never has more under way than one message and, after a verdict, what follows it.
        let limit = 1 << 16
        guard buffer.count + bytes.count <= limit else {
            return fail(.frameTooLong(bytes: buffer.count + bytes.count, limit: limit))
        }
        buffer.append(contentsOf: bytes)
        if case .expectingHello = state, let claimed = Handshake.claim(in: buffer) { claim = claimed }
        if let refusal = earlyRefusal() { return fail(refusal) }
        guard buffer.count >= expectedBytes else { return .wait }
        let message = Array(buffer.prefix(expectedBytes))
        buffer.removeFirst(message.count)
        do throws(WireError) {
            return try take(message)
        } catch {
            return fail(error)
        }
    }

    private mutating func fail(_ error: WireError) -> Action {
        state = .ended
        buffer = []
        return .fail(error)
    }

    /// Judges magic and version as soon as they are there, so that a stray client is refused by its first bytes.
    private func earlyRefusal() -> WireError? {
        switch state {
        case .expectingHello, .expectingWelcome: break
        default: return nil
        }
        guard buffer.count >= 6 else { return nil }
        var reader = ByteReader(Array(buffer.prefix(6)))
        guard let magic = try? reader.read(UInt32.self), let version = try? reader.read(UInt16.self) else { return nil }
        if magic != Handshake.magic { return .wrongMagic(magic) }
        if version != Handshake.version { return .wrongVersion(theirs: version, ours: Handshake.version) }
        return nil
    }

    /// What a hello says of its sender; nil for what is none. Other versions' hellos begin alike.
    private static func claim(in bytes: [UInt8]) -> Introduction? {
        guard bytes.count >= 20 else { return nil }
        var reader = ByteReader(Array(bytes.prefix(20)))
        guard let magic = try? reader.read(UInt32.self), magic == Handshake.magic, (try? reader.read(UInt16.self)) != nil,
            let purpose = try? reader.read(UInt8.self), let known = Introduction.Purpose(rawValue: purpose),
            (try? reader.read(UInt8.self)) != nil, let generation = try? reader.read(UInt32.self),
            let rank = try? reader.read(UInt32.self)
        else { return nil }
        return Introduction(purpose: known, generation: generation, rank: rank)
    }

    private mutating func take(_ message: [UInt8]) throws(WireError) -> Action {
        switch state {
        case .expectingHello:
            let peer = try introduction(from: message)
            var own = own
            own.purpose = peer.purpose
            let fields = Handshake.fields(of: own, secret: secret, nonce: try Secret.randomBytes(Handshake.nonceBytes))
            let welcome = fields + secret.authenticationCode(label: "acceptor", message: message + fields)
            state = .expectingProof(peer: peer, transcript: message + welcome)
            return .send(welcome)

        case .expectingWelcome(let hello):
            let fields = Array(message.prefix(Handshake.helloBytes))
            let code = Array(message.suffix(Handshake.welcomeBytes - Handshake.helloBytes))
            let peer = try introduction(from: fields)
            guard constantTimeEqual(code, secret.authenticationCode(label: "acceptor", message: hello + fields))
            else { throw .wrongSecret }
            state = .expectingVerdict(peer: peer)
            return .send(secret.authenticationCode(label: "connector", message: hello + message))

        case .expectingProof(let peer, let transcript):
            guard constantTimeEqual(message, secret.authenticationCode(label: "connector", message: transcript))
            else { throw .wrongSecret }
            return establish(peer, send: [0, 0, 0, 0])

        case .expectingVerdict(let peer):
            guard message == [0, 0, 0, 0] else { throw .refused("verdict \(message)") }
            return establish(peer, send: [])

        case .ended:
            preconditionFailure("a finished handshake takes no message")
        }
    }

    private mutating func establish(_ peer: Introduction, send: [UInt8]) -> Action {
        state = .ended
        let rest = buffer
        buffer = []
        return .established(peer: peer, send: send, rest: rest)
    }

    private static func fields(of own: Introduction, secret: Secret, nonce: [UInt8]) -> [UInt8] {
        var writer = ByteWriter()
        writer.append(magic)
        writer.append(version)
        writer.append(own.purpose.rawValue)
        writer.append(UInt8(0))
        writer.append(own.generation)
        writer.append(own.rank)
        writer.append(own.channel)
        writer.append(secret.jobIdentifier)
        writer.append(nonce)
        precondition(writer.bytes.count == helloBytes)
        return writer.bytes
    }

    private func introduction(from message: [UInt8]) throws(WireError) -> Introduction {
        var reader = ByteReader(message)
        _ = try reader.read(UInt32.self)
        _ = try reader.read(UInt16.self)
        let purpose = try reader.read(UInt8.self)
        _ = try reader.read(UInt8.self)
        let generation = try reader.read(UInt32.self)
        let rank = try reader.read(UInt32.self)
        let channel = try reader.read(UInt32.self)
        guard try reader.read(count: 16) == secret.jobIdentifier else { throw .otherJob }
        guard let known = purposes.first(where: { $0.rawValue == purpose }) else { throw .wrongPurpose(purpose) }
        if known == .ring, generation != own.generation {
            throw .wrongGeneration(theirs: generation, ours: own.generation)
        }
        if let expectedRank, rank != expectedRank { throw .wrongRank(theirs: rank, expected: expectedRank) }
        return Introduction(purpose: known, generation: generation, rank: rank, channel: channel)
    }
}
