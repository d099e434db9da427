import EventLoop
import Membership
import Wire

/// Brings about a member's connections in one generation: two of the ring, to the right neighbour and from the left one, and those for
/// exchanges, one with each partner, which the one at the higher place makes. Ends when all have proved themselves. Whoever else comes is
/// refused, and so is a member of another generation.
///
/// Confined to the loop's thread.
final class RingFormation {
    struct Streams {
        var left: TCPStream
        var right: TCPStream
        /// For exchanges: one for each of `ExchangePlan.partners`, in that order.
        var partners: [(place: Int, stream: TCPStream)]
    }

    /// What a connection is for, as the handshake's channel says it.
    private enum Channel: UInt32 {
        case ring, exchange
    }

    /// One of the connections that are wanted.
    private enum Line: Hashable {
        case right, left
        case partner(Int)
    }

    private let loop: Loop
    private let secret: Secret
    private var timeLimit = Duration.zero
    /// This member's place in the generation; members go by their places here, and by their ranks in handshakes and errors.
    private var place = 0
    private var worldSize: Int { members.count }
    private let ended: (Result<Streams, CollectiveError>) -> Void
    private var members: [MemberAddress] = []
    private var generation: UInt32 = 0
    private var listener: TCPListener?
    private var waiting: [TCPStream] = []
    private var partners: [Int] = []
    private var lines: [Line] = []
    private var streams: [Line: TCPStream] = [:]
    private var timer: Timer?
    private var retry: Timer?
    private var toRetry: Set<Line> = []
    /// Why lines that are called from here are not there yet.
    private var causes: [Line: String] = [:]
    private var hasEnded = false
    /// The members with whom there was no connection when the time was up, and why.
    private(set) var unreached: [Recovery.Complaint] = []

    /// Connections that may wait for the ring to be announced: more than any member's partners, two for each round of an exchange.
    /// Members come within moments of the announcement, so what has waited longest is a stranger's, and makes room.
    private static let mostWaiting = 64
    private static let pauseBeforeRetry = Duration.milliseconds(20)
    /// The part of the time that a call may take: who calls knows best what is wrong, and is to say so before who is called does.
    private static let partForCalls = 0.9

    init(
        loop: Loop, secret: Secret, ended: @escaping (Result<Streams, CollectiveError>) -> Void
    ) {
        self.loop = loop
        self.secret = secret
        self.ended = ended
    }

    /// Listens on any free port of the address; gives the port.
    func listen(on host: String) throws(LoopError) -> UInt16 {
        let listener = try TCPListener(loop: loop, host: host, port: 0) { [weak self] result in
            guard case .success(let stream) = result else { return }
            guard let self, !hasEnded else { return stream.close() }
            accept(stream)
        }
        self.listener = listener
        return listener.address.port
    }

    /// The ring has been announced: calls those whom this member has to call, and judges those who came early.
    func form(generation: UInt32, members: [MemberAddress], place: Int, within timeLimit: Duration) {
        self.generation = generation
        self.members = members
        self.place = place
        self.timeLimit = timeLimit
        partners = ExchangePlan(rank: place, worldSize: worldSize).partners
        lines = [.right, .left] + partners.map { .partner($0) }
        do throws(LoopError) {
            let timer = try Timer(loop: loop) { [weak self] in self?.timeIsUp() }
            timer.start(after: timeLimit)
            self.timer = timer
            retry = try Timer(loop: loop) { [weak self] in self?.callAgain() }
        } catch {
            fail(.right, error.description)
        }
        for line in lines where isCalledByUs(line) { call(line) }
        for stream in waiting { judge(stream) }
        waiting = []
    }

    func cancel() {
        end(nil)
    }

    private func place(of line: Line) -> Int {
        switch line {
        case .right: (place + 1) % worldSize
        case .left: (place + worldSize - 1) % worldSize
        case .partner(let other): other
        }
    }

    private func member(of line: Line) -> MemberAddress { members[place(of: line)] }

    private func isCalledByUs(_ line: Line) -> Bool {
        switch line {
        case .right: true
        case .left: false
        case .partner(let other): other < place
        }
    }

    private func own(_ channel: Channel) -> Introduction {
        Introduction(purpose: .ring, generation: generation, rank: members[place].rank, channel: channel.rawValue)
    }

    // MARK: Calling

    private func call(_ line: Line) {
        guard !hasEnded else { return }
        let member = member(of: line)
        do throws(LoopError) {
            var options = StreamOptions()
            options.probe(after: timeLimit / 2)
            let connector = try Connector(
                loop: loop, host: member.host, port: member.port, within: timeLimit * RingFormation.partForCalls, options: options
            ) { [weak self] result in
                switch result {
                case .failure(let error): self?.notConnected(line, error)
                case .success(let stream):
                    guard let self, !hasEnded else { return stream.close() }
                    connected(line, stream)
                }
            }
            withExtendedLifetime(connector) {}
        } catch {
            fail(line, error.description)
        }
    }

    /// The others are waited for: whoever is missing when the time is up is named with them.
    private func notConnected(_ line: Line, _ error: LoopError) {
        guard !hasEnded else { return }
        let address = SocketAddress.text(host: member(of: line).host, port: member(of: line).port)
        if case .connectDeadline(_, _, let time, nil) = error {
            causes[line] = "port \(address) does not answer for \(time.secondsText)"
        } else {
            causes[line] = error.description
        }
        let isAnyUnderWay = lines.contains { isCalledByUs($0) && streams[$0] == nil && causes[$0] == nil }
        if !isAnyUnderWay { timeIsUp() }
    }

    private func callAgain() {
        let lines = toRetry
        toRetry = []
        for line in lines { call(line) }
    }

    private func connected(_ line: Line, _ stream: TCPStream) {
        do throws(WireError) {
            let handshake = try Handshake.connecting(
                secret: secret, own: own(line == .right ? .ring : .exchange), expectedRank: member(of: line).rank)
            run(handshake, over: stream) { [weak self] result in
                guard let self, !hasEnded else { return stream.close() }
                switch result {
                case .success:
                    take(line, stream)
                case .failure(.wire(let error, _)):
                    fail(line, error.description)
                case .failure:
                    // It was crowded out, or the other's kernel dropped it: neither says that the other is not there.
                    toRetry.insert(line)
                    retry?.start(after: RingFormation.pauseBeforeRetry)
                }
            }
        } catch {
            stream.close()
            fail(line, error.description)
        }
    }

    // MARK: Being called

    private func accept(_ stream: TCPStream) {
        // Others may hear of the ring before this rank does; they wait, unread, until the generation is known.
        guard members.isEmpty else { return judge(stream) }
        if waiting.count >= RingFormation.mostWaiting { waiting.removeFirst().close() }
        waiting.append(stream)
    }

    private func judge(_ stream: TCPStream) {
        run(Handshake.accepting(secret: secret, own: own(.ring)), over: stream) { [weak self] result in
            guard let self, !hasEnded, case .success(let peer) = result, let line = line(of: peer), streams[line] == nil
            else { return stream.close() }
            take(line, stream)
        }
    }

    /// The connection that a member makes; nil for one that nobody waits for.
    private func line(of peer: Introduction) -> Line? {
        let line: Line?
        switch Channel(rawValue: peer.channel) {
        case .ring: line = .left
        case .exchange: line = members.firstIndex { $0.rank == peer.rank }.map { .partner($0) }
        case nil: return nil
        }
        guard let line, lines.contains(line), !isCalledByUs(line), member(of: line).rank == peer.rank else { return nil }
        return line
    }

    // MARK: Both

    private func run(
        _ handshake: consuming Handshake, over stream: TCPStream,
        completion: @escaping (Result<Introduction, HandshakeRunner.Failure>) -> Void
    ) {
        do throws(LoopError) {
            _ = try HandshakeRunner(stream: stream, handshake: handshake, completion: completion)
        } catch {
            completion(.failure(.connection(error)))
        }
    }

    private func take(_ line: Line, _ stream: TCPStream) {
        streams[line] = stream
        guard let left = streams[.left], let right = streams[.right], streams.count == lines.count else { return }
        end(.success(Streams(left: left, right: right, partners: partners.map { ($0, streams[.partner($0)]!) })))
    }

    private func timeIsUp() {
        guard !hasEnded else { return }
        let missing = lines.filter { streams[$0] == nil }
        // Those of our own calls first. Of who should have called nothing is known before the whole time has passed.
        let called = missing.filter { causes[$0] != nil }
        guard let first = called.first ?? missing.first else { return }
        for line in called.isEmpty ? missing : called {
            let rank = Int(member(of: line).rank)
            if !unreached.contains(where: { $0.rank == rank }) { unreached.append(.init(rank: rank, cause: cause(of: line))) }
        }
        fail(first, cause(of: first))
    }

    private func cause(of line: Line) -> String {
        if let cause = causes[line] { return cause }
        let own = SocketAddress.text(host: members[place].host, port: members[place].port)
        return isCalledByUs(line)
            ? "connected, but without a word for \(timeLimit.secondsText)" : "it has not come to port \(own) within \(timeLimit.secondsText)"
    }

    private func fail(_ line: Line, _ cause: String) {
        let member = member(of: line)
        end(.failure(.noRing(rank: Int(member.rank), host: member.hostName, cause: cause)))
    }

    /// The first end counts. Connections that are not handed over are closed.
    private func end(_ result: Result<Streams, CollectiveError>?) {
        guard !hasEnded else { return }
        hasEnded = true
        listener?.close()
        timer?.close()
        retry?.close()
        for stream in waiting { stream.close() }
        if case .success = result {} else {
            for stream in streams.values { stream.close() }
        }
        if let result { ended(result) }
    }
}
