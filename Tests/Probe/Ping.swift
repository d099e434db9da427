import CAllocationCounter
import EventLoop

/// A message that goes to and fro between two loops on two threads. Prints the time of a round trip and the number of heap
/// allocations, in the whole process, during all rounds but the first tenth.
struct Ping {
    let bytes: Int
    let rounds: Int

    init(arguments: [String]) {
        bytes = Int(arguments[0])!
        rounds = Int(arguments[1])!
    }

    func run() throws {
        let server = try Loop()
        let client = try Loop()
        let answerer = Player(bytes: bytes, rounds: 0)
        let listener = try TCPListener(loop: server, host: "127.0.0.1", port: 0) { result in
            guard let stream = try? result.get() else { return }
            stream.receiver = answerer
            stream.startReading()
        }
        let port = listener.address.port
        try server.startThread(name: "server")
        let player = Player(bytes: bytes, rounds: rounds)
        player.finished = { client.stop() }
        try Connector(loop: client, host: "127.0.0.1", port: port) { result in
            guard let stream = try? result.get() else { return client.stop() }
            stream.receiver = player
            stream.startReading()
            player.serve(stream)
        }
        client.run()
        client.close()
        server.stopAndJoin()
        if player.allocations > 0 { allocation_trace_print(2) }
        print("us \(player.microsecondsPerRound) allocations \(player.allocations) before \(player.countBefore)")
    }
}

/// Sends its message whenever it has read a whole one.
private final class Player: StreamReceiver {
    private let memory: UnsafeMutableRawBufferPointer
    private let answer: UnsafeMutableRawBufferPointer
    private let rounds: Int
    private var round = 0
    private var filled = 0
    private(set) var countBefore: UInt = 0
    private var start = ContinuousClock.now
    var finished: () -> Void = {}
    private(set) var microsecondsPerRound = 0.0
    private(set) var allocations: UInt = 0

    /// `rounds` is 0 for the side that only answers.
    init(bytes: Int, rounds: Int) {
        memory = .allocate(byteCount: bytes, alignment: 64)
        answer = .allocate(byteCount: bytes, alignment: 64)
        answer.initializeMemory(as: UInt8.self, repeating: 1)
        self.rounds = rounds
    }

    deinit {
        memory.deallocate()
        answer.deallocate()
    }

    func serve(_ stream: TCPStream) {
        _ = stream.write(body: UnsafeRawBufferPointer(answer), token: 0)
    }

    func nextBuffer(_ stream: TCPStream) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: memory[filled...])
    }

    func received(_ stream: TCPStream, count: Int) {
        filled += count
        guard filled == memory.count else { return }
        filled = 0
        round += 1
        if rounds > 0 {
            if round == rounds / 10 {
                countBefore = allocation_count_traced()
                start = ContinuousClock.now
            } else if round == rounds {
                allocations = allocation_count() - countBefore
                microsecondsPerRound = (ContinuousClock.now - start).seconds * 1e6 / Double(rounds - rounds / 10)
                return finished()
            }
        }
        serve(stream)
    }

    func ended(_ stream: TCPStream, error: LoopError?) { stream.close() }

    func wrote(_ stream: TCPStream, token: UInt64, error: LoopError?) {}
}
