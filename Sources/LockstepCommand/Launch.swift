import EventLoop
import Glibc
import Launching
import Lockstep
import Membership
import Wire

/// Starts workers on this host with a coordinator beside them, and waits for their end. Gives the status to exit with.
///
/// - Parameters:
///   - marksOutput: whether each line of output begins with its rank.
func launch(_ program: String, _ arguments: [String], workers: Int, logDirectory: String? = nil, marksOutput: Bool) throws -> Int32 {
    let secret = try Secret.random()
    var configuration = LaunchConfiguration(program: program, arguments: arguments, workerCount: workers)
    configuration.secret = secret.hexadecimal
    configuration.logDirectory = logDirectory
    configuration.marksOutput = marksOutput
    // The coordinator is this process; rank 0 must not open a second one.
    configuration.environment["LOCKSTEP_COORDINATOR"] = "launcher"
    var coordinator: Coordinator?
    configuration.beforeStart = { loop in
        let opened = try Coordinator(
            loop: loop, host: "127.0.0.1", port: 0, worldSize: workers, secret: secret, joinTimeLimit: .seconds(120)
        ) { event in
            if case .refusedStranger(let address, let cause) = event { printError("refused a connection from \(address): \(cause)") }
        }
        coordinator = opened
        return ("127.0.0.1", opened.address.port)
    }
    configuration.workerExited = { rank, _ in coordinator?.processEnded(rank: rank) }
    configuration.afterEnd = { coordinator?.close() }
    do {
        let outcome = try Launcher(configuration).run()
        if outcome.status == 0, coordinator?.hasMetWorkers == false {
            throw UsageError(
                "no worker of \"\(program)\" joined the job: it is not built on Lockstep, or ended before it made its Ring; "
                    + "what needs no ring needs no `lockstep run`")
        }
        return outcome.status
    } catch let error as LaunchError {
        printError(error.description)
        return error.status
    }
}

/// This program's file, by the name that `ps` should show; by the kernel's own where that file has gone.
private var ownPath: String {
    let link = "/proc/self/exe"
    let path = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Int(PATH_MAX)) { buffer in
        String(decoding: buffer.prefix(max(0, readlink(link, buffer.baseAddress!, buffer.count))), as: UTF8.self)
    }
    return access(path, X_OK) == 0 ? path : link
}

/// Starts workers that are this program with this program's arguments: each finds its rank in its environment.
func launchSelf(workers: Int, furtherArguments: [String] = []) throws -> Int32 {
    try launch(
        ownPath, Array(CommandLine.arguments.dropFirst()) + furtherArguments, workers: workers, marksOutput: false)
}
