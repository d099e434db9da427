import ArgumentParser
import Launching
import Membership

/// The flags that say what happens when workers die.
struct FaultOptions: ParsableArguments {
    @Option(parsing: .unconditional, help: "Start dead workers again so many times in all; unless given 3 with train and 0 with run.")
    var maxRestarts: Int?

    @Option(parsing: .unconditional, help: "With fewer workers than this wait for more instead of going on.")
    var minWorkers = 1

    @Option(parsing: .unconditional, help: """
            Wait so many seconds for --min-workers, then write a checkpoint and stop; or, where no worker that has the run's state \
            gives a sign of life, for one of them.
            """)
    var rejoinTimeout = 60.0

    @Option(parsing: .unconditional, help: "A worker that gives no sign of life for so many seconds while others do is frozen, and is shut out.")
    var peerTimeout = 5.0

    @Option(parsing: .unconditional, help: "All workers must have come within so many seconds; 120 unless given.")
    var joinTimeout: Double?

    func validate() throws {
        if let joinTimeout, !(1...86_400).contains(joinTimeout) {
            throw ValidationError("--join-timeout is \(joinTimeout.brief), which must be from 1 to 86400 seconds.")
        }
        if let maxRestarts, maxRestarts < 0 { throw ValidationError("--max-restarts is \(maxRestarts), which must be at least 0.") }
        if minWorkers < 1 { throw ValidationError("--min-workers is \(minWorkers), which must be at least 1.") }
        if !(0...86_400).contains(rejoinTimeout) {
            throw ValidationError("--rejoin-timeout is \(rejoinTimeout.brief), which must be from 0 to 86400 seconds.")
        }
        if !(0.5...86_400).contains(peerTimeout) {
            throw ValidationError("--peer-timeout is \(peerTimeout.brief), which must be from 0.5 to 86400 seconds.")
        }
    }

    /// What workers find in LOCKSTEP_JOIN_TIMEOUT, if the flag is given.
    var joinTimeoutVariable: String? { joinTimeout.map { "\(Int($0.rounded(.up)))" } }

    /// Checks what depends on the number of workers.
    func validate(workers: Int) throws {
        if minWorkers > workers { throw ValidationError("--min-workers is \(minWorkers), which must be at most -n, which is \(workers).") }
    }
}
