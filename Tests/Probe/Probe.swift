import Glibc
import Lockstep

/// What the tests run as a process of its own: `Probe MODE ARGUMENTS`.
@main
struct Probe {
    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst()
        switch arguments.first {
        case "ping": try Ping(arguments: Array(arguments.dropFirst())).run()
        case "ring": try RingRounds(arguments: Array(arguments.dropFirst())).run()
        case "elastic": try ElasticWorker(arguments: Array(arguments.dropFirst())).run()
        case "tokens": try TokenMemory(arguments: Array(arguments.dropFirst())).run()
        case "memory": try ModelMemory(arguments: Array(arguments.dropFirst())).run()
        case "print": try printLine(asWorker: arguments.last == "worker")
        case "compute": try Compute(arguments: Array(arguments.dropFirst())).run()
        case "launch": try Launch(arguments: Array(arguments.dropFirst())).run()
        default:
            print(
                """
                usage: Probe ping BYTES ROUNDS
                       Probe ring WORKERS ELEMENTS ROUNDS [GO]
                       Probe elastic STEPS|0 ELEMENTS
                       Probe tokens FILE
                       Probe memory LAYERS BATCH exact|fp32|bf16 sgd|momentum|adamw
                       Probe print worker|ring
                       Probe compute gpt|cnn|products STEPS
                       Probe launch WORKERS GRACE_MILLISECONDS PROGRAM ARGUMENTS
                """)
            exit(64)
        }
    }

    /// A worker that prints one line, as any program does, and never ends.
    private static func printLine(asWorker: Bool) throws {
        func work() -> Never {
            print("printed")
            while true { pause() }
        }
        if asWorker { runWorker { _ in work() } }
        let ring = try Ring(.current())
        withExtendedLifetime(ring) { work() }
    }
}
