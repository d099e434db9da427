import EventLoop
import Wire

/// Asks a running job's coordinator for something without being a worker: `lockstep scale`.
package struct JobClient {
    /// Why there is no answer.
    package enum Failure: Error, CustomStringConvertible {
        case unreachable(cause: String)
        /// The coordinator refused, for this reason.
        case refused(reason: String)
        case noAnswer(limit: Duration)

        package var description: String {
            switch self {
            case .unreachable(let cause): "cannot reach its coordinator: \(cause)"
            case .refused(let reason): reason
            case .noAnswer(let limit):
                "its coordinator does not answer within \(limit.secondsText): is the launcher stopped?"
            }
        }
    }

    private let host: String
    private let port: UInt16
    private let secret: Secret

    package init(host: String, port: UInt16, secret: Secret) {
        self.host = host
        self.port = port
        self.secret = secret
    }

    /// Asks for this many workers and waits for the answer, on the calling thread. Returns the coordinator's answer.
    package func scale(to workers: Int, within limit: Duration = .seconds(10)) throws -> String {
        let loop = try Loop()
        defer { loop.close() }
        var answer: Result<String, Failure> = .failure(.noAnswer(limit: limit))
        var channel: ControlChannel?
        func end(_ result: Result<String, Failure>) {
            answer = result
            loop.stop()
        }
        func ask(_ stream: TCPStream) {
            channel = ControlChannel(
                stream: stream,
                received: { _, message in
                    switch message {
                    case .scaled(let text): end(.success(text))
                    case .refuse(let reason): end(.failure(.refused(reason: reason)))
                    default: end(.failure(.unreachable(cause: "it gave an answer that is none")))
                    }
                },
                ended: { _, cause in end(.failure(.unreachable(cause: cause))) })
            channel?.send(.scale(workers: UInt32(clamping: workers)))
        }
        let timer = try Timer(loop: loop) { loop.stop() }
        timer.start(after: limit)
        func introduce(_ stream: TCPStream) throws {
            let own = Introduction(purpose: .client, generation: 0, rank: 0)
            let handshake = try Handshake.connecting(
                secret: secret, own: own, expectedRank: Introduction.coordinatorRank)
            _ = try HandshakeRunner(stream: stream, handshake: handshake) { result in
                switch result {
                case .success: ask(stream)
                case .failure(let failure): end(.failure(.unreachable(cause: failure.description)))
                }
            }
        }
        // One attempt: either the job is running, or its record is old.
        let connector = try Connector(loop: loop, host: host, port: port) { result in
            do {
                try introduce(try result.get())
            } catch {
                end(.failure(.unreachable(cause: "\(error)")))
            }
        }
        loop.run()
        withExtendedLifetime((connector, channel)) {}
        return try answer.get()
    }
}
