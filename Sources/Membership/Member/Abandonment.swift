import EventLoop
import Wire

/// A process that was started by hand as a rank of a job, and ends before it could be a member: tells the others, so
/// that they do not wait.
package enum Abandonment {
    /// The coordinator may be about to start.
    private static let searchTime = Duration.seconds(5)
    /// The others look for rank 0: it waits this long for them to come and be told.
    private static let farewellTime = Duration.seconds(10)

    /// Tells the job that the environment names why this rank ends, and returns when that is done, or its time is up.
    /// Does nothing where a launcher sees the end, or there is no job. On the calling thread.
    package static func tell(_ environment: WorkerEnvironment, reason: String) {
        guard environment.isByHand, let address = environment.coordinator, let loop = try? Loop() else { return }
        defer { loop.close() }
        let limit = address.isOurs ? min(farewellTime, environment.joinTimeout) : searchTime
        guard let timer = try? Timer(loop: loop, fired: loop.stop) else { return }
        timer.start(after: limit)
        if address.isOurs {
            guard let coordinator = coordinator(loop, environment, address) else { return }
            coordinator.giveUp(reason)
            coordinator.finish { loop.stop() }
            loop.run()
            withExtendedLifetime(coordinator) {}
        } else {
            let connector = try? Connector(loop: loop, host: address.host, port: address.port, within: limit) { result in
                guard case .success(let stream) = result else { return loop.stop() }
                introduce(stream, environment.rank, address, reason)
            }
            guard connector != nil else { return }
            loop.run()
        }
    }

    private static func coordinator(
        _ loop: Loop, _ environment: WorkerEnvironment, _ address: WorkerEnvironment.CoordinatorAddress
    ) -> Coordinator? {
        var configuration = Coordinator.Configuration(worldSize: environment.worldSize)
        configuration.joinTimeLimit = environment.joinTimeout
        configuration.peerTimeout = environment.peerTimeout
        configuration.ownRank = UInt32(environment.rank)
        return try? Coordinator(
            loop: loop, host: address.host, port: address.port, secret: address.secret, configuration: configuration
        ) { _ in }
    }

    private static func introduce(
        _ stream: TCPStream, _ rank: Int, _ address: WorkerEnvironment.CoordinatorAddress, _ reason: String
    ) {
        let loop = stream.loop
        let own = Introduction(purpose: .control, generation: 0, rank: UInt32(rank))
        guard let handshake = try? Handshake.connecting(secret: address.secret, own: own, expectedRank: Introduction.coordinatorRank)
        else { return loop.stop() }
        let runner = try? HandshakeRunner(stream: stream, handshake: handshake) { result in
            guard case .success = result else { return loop.stop() }
            let channel = ControlChannel(stream: stream, received: { _, _ in }, ended: { _, _ in loop.stop() })
            channel.send(.failing(reason: reason))
            channel.close(loop.stop)
        }
        if runner == nil { loop.stop() }
    }
}
