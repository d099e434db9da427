import CLibuv

/// Makes one connection: finds the host's addresses, tries them side by side, each a moment after the one before, and, if told until when,
/// tries again with growing pauses, since peers do not all start at the same moment. The first connection that stands is taken.
///
/// An address that swallows packets costs the next one that moment and no more: an attempt that has no answer goes on, and the others
/// are tried again meanwhile (RFC 8305).
///
/// Confined to the loop's thread. `completion` runs there exactly once, never before `init` has returned, unless `cancel` is
/// called or the loop is closed first. The object keeps itself alive until then.
package final class Connector {
    /// Finds a host's addresses: `Resolution.start`, but for tests.
    package typealias Resolver = (
        _ host: String, _ port: UInt16, _ completion: @escaping (Result<[SocketAddress], LoopError>) -> Void
    ) throws(LoopError) -> Void

    private let loop: Loop
    private let host: String
    private let port: UInt16
    private let options: StreamOptions
    private let started = ContinuousClock.now
    private let limit: Duration
    private let resolve: Resolver
    private var completion: ((Result<TCPStream, LoopError>) -> Void)?

    private var plan: ConnectPlan
    /// Attempts in flight.
    private var streams: [ConnectPlan.Attempt: TCPStream] = [:]
    private var timer: Timer
    private var lastError: LoopError?

    /// Starts connecting.
    ///
    /// - Parameter within: with `zero` every address of the host is tried once, for as long as the system takes, and the last
    ///   failure is the result (`resolve` or `connect`). Otherwise attempts go on, and are cut, when this much time has passed:
    ///   the result is then `connectDeadline`.
    @discardableResult
    package convenience init(
        loop: Loop, host: String, port: UInt16, within limit: Duration = .zero, options: StreamOptions = StreamOptions(),
        completion: @escaping (Result<TCPStream, LoopError>) -> Void
    ) throws(LoopError) {
        let resolve: Resolver = { host, port, completion throws(LoopError) in
            if let numeric = SocketAddress(host: host, port: port) { return completion(.success([numeric])) }
            try Resolution.start(loop: loop, host: host, port: port, completion: completion)
        }
        try self.init(
            loop: loop, host: host, port: port, within: limit, options: options, resolve: resolve, completion: completion)
    }

    @discardableResult
    package init(
        loop: Loop, host: String, port: UInt16, within limit: Duration, options: StreamOptions = StreamOptions(),
        resolve: @escaping Resolver, completion: @escaping (Result<TCPStream, LoopError>) -> Void
    ) throws(LoopError) {
        loop.preconditionOnThread()
        self.loop = loop
        self.host = host
        self.port = port
        self.limit = limit
        self.options = options
        self.resolve = resolve
        self.completion = completion
        plan = ConnectPlan(isRepeating: limit > .zero)
        weak var connector: Connector?
        timer = try Timer(loop: loop) { connector?.timerFired() }
        connector = self
        keepAlive = self
        timer.whenClosed { connector?.released() }
        timer.start(after: .zero)
    }

    /// Gives up; `completion` will not be called. Harmless when it already was.
    package func cancel() {
        loop.preconditionOnThread()
        finish(nil)
    }

    /// Cleared at the end; until then the connector owns itself, as a handle is owned by libuv.
    private var keepAlive: Connector?

    /// True once there is nothing more to do: the result was given, or somebody closed the loop with all its handles.
    private var isOver: Bool { completion == nil || timer.isClosed }

    private func released() {
        completion = nil
        keepAlive = nil
    }

    private var hasLimit: Bool { limit > .zero }
    private var elapsed: Duration { ContinuousClock.now - started }

    /// One timer serves all: the pauses between attempts and rounds, and the deadline.
    private func timerFired() {
        guard !isOver else { return }
        if hasLimit, elapsed >= limit { return finishAtDeadline() }
        proceed()
    }

    /// Does what is due, and sets the timer for what comes next.
    private func proceed() {
        while !isOver {
            switch plan.next(at: elapsed) {
            case .resolve: startResolving()
            case .connect(let attempt, let address): connect(attempt, address)
            case .abandon(let attempt): streams.removeValue(forKey: attempt)?.close()
            case .giveUp:
                return finish(
                    .failure(lastError ?? .resolve(host: host, code: SystemCode(UV_EAI_NODATA.rawValue))))
            case .wait(let until):
                let deadline = hasLimit ? limit : nil
                guard let due = [until, deadline].compactMap({ $0 }).min() else { return timer.stop() }
                return timer.start(after: max(.zero, due - elapsed))
            }
        }
    }

    private func startResolving() {
        do throws(LoopError) {
            // A numeric address is found at once.
            var isAtOnce = true
            defer { isAtOnce = false }
            try resolve(host, port) { [weak self] result in
                guard let self, !isOver else { return }
                switch result {
                case .success(let found): plan.resolved(found, at: elapsed)
                case .failure(let error):
                    lastError = error
                    plan.resolved([], at: elapsed)
                }
                if !isAtOnce { proceed() }
            }
        } catch {
            lastError = error
            plan.resolved([], at: elapsed)
        }
    }

    private func connect(_ attempt: ConnectPlan.Attempt, _ address: SocketAddress) {
        do throws(LoopError) {
            let stream = try TCPStream(loop: loop)
            streams[attempt] = stream
            try stream.connect(to: address) { [weak self] code in
                guard let self, !isOver, streams[attempt] === stream else { return }
                if code.rawValue == 0 { return connected(attempt, stream) }
                failed(attempt, .connect(address: target(address), code: code))
                proceed()
            }
        } catch {
            failed(attempt, error)
        }
    }

    /// The name as the user gave it, and the address it stood for where that differs.
    private func target(_ address: SocketAddress) -> String {
        let asked = SocketAddress.text(host: host, port: port)
        return asked == address.description ? asked : "\(asked) (\(address.host))"
    }

    private func failed(_ attempt: ConnectPlan.Attempt, _ error: LoopError) {
        streams.removeValue(forKey: attempt)?.close()
        lastError = error
        plan.failed(attempt, at: elapsed)
    }

    private func finishAtDeadline() {
        let address = SocketAddress.text(host: host, port: port)
        if case .resolve = lastError, let lastError { return finish(.failure(lastError)) }
        finish(
            .failure(
                .connectDeadline(address: address, attempts: plan.attempts, after: elapsed, last: lastError?.code)))
    }

    private func connected(_ attempt: ConnectPlan.Attempt, _ stream: TCPStream) {
        stream.opened(options)
        streams[attempt] = nil
        finish(.success(stream))
    }

    private func finish(_ result: Result<TCPStream, LoopError>?) {
        guard let completion else { return }
        self.completion = nil
        for stream in streams.values { stream.close() }
        streams = [:]
        timer.close()
        if let result { completion(result) }
    }
}
