import CLibuv

/// Makes one connection: finds the host's addresses, tries each in turn, and, if told until when, tries again with growing
/// pauses, since peers do not all start at the same moment.
///
/// Confined to the loop's thread. `completion` runs there exactly once, never before `init` has returned, unless `cancel` is
/// called or the loop is closed first. The object keeps itself alive until then.
package final class Connector {
    private let loop: Loop
    private let host: String
    private let port: UInt16
    private let options: StreamOptions
    private let started = ContinuousClock.now
    private let limit: Duration
    private var completion: ((Result<TCPStream, LoopError>) -> Void)?

    /// Found once a round: names may change while a cluster starts.
    private var addresses: [SocketAddress] = []
    private var stream: TCPStream?
    private var timer: Timer
    private var lastError: LoopError?
    private var attempts = 0
    private var pause = Connector.firstPause

    /// Pauses between rounds double from the first to the longest.
    private static let firstPause = Duration.milliseconds(5)
    private static let longestPause = Duration.milliseconds(500)

    /// Starts connecting.
    ///
    /// - Parameter within: with `zero` every address of the host is tried once, for as long as the system takes, and the last
    ///   failure is the result (`resolve` or `connect`). Otherwise attempts go on, and are cut, when this much time has passed:
    ///   the result is then `connectDeadline`.
    @discardableResult
    package init(
        loop: Loop, host: String, port: UInt16, within limit: Duration = .zero, options: StreamOptions = StreamOptions(),
        completion: @escaping (Result<TCPStream, LoopError>) -> Void
    ) throws(LoopError) {
        loop.preconditionOnThread()
        self.loop = loop
        self.host = host
        self.port = port
        self.limit = limit
        self.options = options
        self.completion = completion
        weak var connector: Connector?
        timer = try Timer(loop: loop) { connector?.timerFired() }
        connector = self
        keepAlive = self
        timer.whenClosed { connector?.released() }
        resumeAt = started
        timer.start(after: .zero)
    }

    /// Gives up; `completion` will not be called. Harmless when it already was.
    package func cancel() {
        loop.preconditionOnThread()
        finish(nil)
    }

    /// Cleared at the end; until then the connector owns itself, as a handle is owned by libuv.
    private var keepAlive: Connector?
    /// When the next round starts; nil while an attempt is in flight.
    private var resumeAt: ContinuousClock.Instant?

    /// True once there is nothing more to do: the result was given, or somebody closed the loop with all its handles.
    private var isOver: Bool { completion == nil || timer.isClosed }

    private func released() {
        completion = nil
        keepAlive = nil
    }

    private var hasLimit: Bool { limit > .zero }
    private var deadline: ContinuousClock.Instant { started + limit }

    /// One timer serves both: the pause between rounds, and the deadline while an attempt is in flight.
    private func timerFired() {
        guard !isOver else { return }
        let now = ContinuousClock.now
        if hasLimit && now >= deadline { return finishAtDeadline() }
        if let resumeAt {
            if now < resumeAt { return timer.start(after: resumeAt - now) }
            self.resumeAt = nil
            if hasLimit { timer.start(after: deadline - now) }
            startRound()
        } else if hasLimit {
            timer.start(after: deadline - now)
        }
    }

    private func startRound() {
        if let numeric = SocketAddress(host: host, port: port) {
            addresses = [numeric]
            return tryNextAddress()
        }
        do throws(LoopError) {
            try Resolution.start(loop: loop, host: host, port: port) { [weak self] result in
                guard let self, !isOver else { return }
                switch result {
                case .success(let found):
                    addresses = found
                    tryNextAddress()
                case .failure(let error): roundFailed(error)
                }
            }
        } catch {
            roundFailed(error)
        }
    }

    private func tryNextAddress() {
        guard !addresses.isEmpty else {
            return roundFailed(lastError ?? .resolve(host: host, code: SystemCode(UV_EAI_NODATA.rawValue)))
        }
        let address = addresses.removeFirst()
        attempts += 1
        do throws(LoopError) {
            let stream = try TCPStream(loop: loop)
            self.stream = stream
            try stream.connect(to: address) { [weak self] code in
                guard let self, !isOver, self.stream === stream else { return }
                if code.rawValue == 0 { return connected(stream) }
                attemptFailed(.connect(address: target(address), code: code))
            }
        } catch {
            attemptFailed(error)
        }
    }

    /// The name as the user gave it, and the address it stood for where that differs.
    private func target(_ address: SocketAddress) -> String {
        let asked = SocketAddress.text(host: host, port: port)
        return asked == address.description ? asked : "\(asked) (\(address.host))"
    }

    private func attemptFailed(_ error: LoopError) {
        stream?.close()
        stream = nil
        lastError = error
        tryNextAddress()
    }

    private func roundFailed(_ error: LoopError) {
        lastError = error
        guard hasLimit else { return finish(.failure(error)) }
        let now = ContinuousClock.now
        guard now < deadline else { return finishAtDeadline() }
        resumeAt = now + pause
        timer.start(after: min(pause, deadline - now))
        pause = min(pause * 2, Self.longestPause)
    }

    private func finishAtDeadline() {
        let address = SocketAddress.text(host: host, port: port)
        if case .resolve = lastError, let lastError { return finish(.failure(lastError)) }
        finish(
            .failure(
                .connectDeadline(
                    address: address, attempts: attempts, after: ContinuousClock.now - started, last: lastError?.code)))
    }

    private func connected(_ stream: TCPStream) {
        stream.opened(options)
        self.stream = nil
        finish(.success(stream))
    }

    private func finish(_ result: Result<TCPStream, LoopError>?) {
        guard let completion else { return }
        self.completion = nil
        stream?.close()
        stream = nil
        timer.close()
        if let result { completion(result) }
    }
}
