import CAllocationCounter
import Collectives
import EventLoop
import Glibc
import Membership
import Wire

/// A ring whose ranks are threads of this process. Prints the number of heap allocations, on the threads of the ranks, during all
/// rounds but the first tenth, and if there were any, where the first came from. A round is an all-reduce of float32, one of carriers while it is under way, and a barrier.
///
/// With GO, a path, the last rank joins only when a file is there, and the process tells first the coordinator's port and the secret,
/// then each stranger that was refused.
struct RingRounds {
    let workers: Int
    let elements: Int
    let rounds: Int
    let goPath: String?

    init(arguments: [String]) {
        goPath = arguments.count > 3 ? arguments[3] : nil
        workers = Int(arguments[0])!
        elements = Int(arguments[1])!
        rounds = Int(arguments[2])!
    }

    func run() throws {
        let secret = try Secret.random()
        let loop = try Loop()
        var configuration = Coordinator.Configuration(worldSize: workers)
        configuration.joinTimeLimit = .seconds(30)
        // Signs of life are asked for every fifth of it: not while allocations are counted.
        configuration.peerTimeout = .seconds(600)
        let coordinator = try Coordinator(
            loop: loop, host: "127.0.0.1", port: 0, secret: secret, configuration: configuration
        ) { [goPath] event in
            if goPath != nil, case .refusedStranger(_, let cause) = event { tell("refused \(cause)") }
        }
        if goPath != nil { tell("port \(coordinator.address.port) secret \(secret.hexadecimal)") }
        let values = [
            "WORLD_SIZE": "\(workers)", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "\(coordinator.address.port)",
            "LOCKSTEP_SECRET": secret.hexadecimal, "LOCKSTEP_COORDINATOR": "launcher",
        ]
        try loop.startThread(name: "coordinator")
        // A launcher's, if there is one: not a worker's.
        _ = loop.enqueue { allocation_count_without_this_thread() }
        let threads = try (0..<workers).map { rank in
            let environment = try WorkerEnvironment { key in key == .rank ? "\(rank)" : values[key.rawValue] }
            if rank == workers - 1, let goPath {
                while access(goPath, F_OK) != 0 { usleep(5000) }
            }
            let player = RankPlayer(environment: environment, elements: elements, rounds: rounds)
            var thread = pthread_t()
            let code = pthread_create(
                &thread, nil,
                { argument in
                    Unmanaged<RankPlayer>.fromOpaque(argument!).takeRetainedValue().play()
                    return nil
                }, Unmanaged.passRetained(player).toOpaque())
            precondition(code == 0)
            return thread
        }
        for thread in threads { pthread_join(thread, nil) }
        loop.stopAndJoin()
        withExtendedLifetime(coordinator) {}
    }
}

/// One line, at once, whoever reads.
private func tell(_ line: String) {
    print(line)
    fflush(nil)
}

/// One rank's thread.
private final class RankPlayer {
    private let environment: WorkerEnvironment
    private let elements: Int
    private let rounds: Int

    init(environment: WorkerEnvironment, elements: Int, rounds: Int) {
        self.environment = environment
        self.elements = elements
        self.rounds = rounds
    }

    func play() {
        do {
            let ring = try Ring(environment)
            let values = UnsafeMutableBufferPointer<Float>.allocate(capacity: elements)
            let carriers = UnsafeMutableBufferPointer<Double>.allocate(capacity: elements)
            let sums = UnsafeMutableBufferPointer<Float>.allocate(capacity: elements)
            values.initialize(repeating: 0)
            carriers.initialize(repeating: 1)
            sums.initialize(repeating: 0)
            defer {
                values.deallocate()
                carriers.deallocate()
                sums.deallocate()
            }
            var before: UInt = 0
            for round in 0..<rounds {
                if round == rounds / 10 {
                    before = environment.rank == 0 ? allocation_count_traced() : allocation_count()
                }
                let first = try ring.startAllReduce(values)
                let second = try ring.startAllReduce(carriers: UnsafeBufferPointer(carriers), into: sums.baseAddress!)
                try ring.wait(for: first)
                try ring.wait(for: second)
                try ring.barrier()
            }
            // Rank 0 counts before any rank goes on to what allocates again.
            let allocations = allocation_count() - before
            try ring.barrier()
            if environment.rank == 0 {
                tell("allocations \(allocations) before \(before)")
                if allocations > 0 { allocation_trace_print(1) }
            }
            precondition(sums.allSatisfy { $0 == Float(environment.worldSize) })
            ring.close()
        } catch {
            print("rank \(environment.rank): \(error)")
            exit(1)
        }
    }
}
