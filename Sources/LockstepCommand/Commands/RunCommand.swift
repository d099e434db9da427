import ArgumentParser
import Glibc
import Lockstep

/// `lockstep run -n N -- PROGRAM ARGS`.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Starts workers of any program built on the library, on this host.",
        usage: "lockstep run [-n <workers>] [<options>] -- PROGRAM [ARGS]",
        discussion: """
            Each worker has RANK, WORLD_SIZE and the rest in its environment, and each line of its output comes out \
            whole, marked with its rank. The status is that of the worker that failed first.

            A program whose work is in sections, as a Trainer's is, goes on when a worker is killed. With --job-dir \
            the job shows itself in job.json there, and `lockstep scale -n N --out DIR` changes its size.
            """)

    @Option(name: [.customShort("n"), .long], parsing: .unconditional, help: "Workers to start.")
    var workers = 1

    @Option(help: "Directory for a log of each worker's output, rank-N.log.")
    var logDir: String?

    @Flag(help: "Replace the logs that are in --log-dir already.")
    var overwriteLogs = false

    @Option(help: "Directory in which the job shows itself while it runs.")
    var jobDir: String?

    @OptionGroup var faults: FaultOptions

    @Argument(parsing: .postTerminator, help: ArgumentHelp("The program, a path or a name in PATH, and its arguments.", valueName: "program"))
    var program: [String] = []

    func validate() throws {
        if program.isEmpty { throw ValidationError("no program: lockstep run -n 4 -- PROGRAM ARGS") }
        if !(1...1024).contains(workers) { throw ValidationError("-n is \(workers), which must be from 1 to 1024.") }
        if logDir == "" { throw ValidationError("--log-dir is empty; give a path, or leave it out.") }
        if overwriteLogs, logDir == nil { throw ValidationError("--overwrite-logs needs --log-dir DIR.") }
        if jobDir == "" { throw ValidationError("--job-dir is empty; give a path, or leave it out.") }
        try faults.validate(workers: workers)
    }

    func run() throws {
        let launch = Launch(
            program: program[0], arguments: Array(program.dropFirst()), workers: workers, faults: faults, jobDirectory: jobDir,
            logDirectory: logDir, overwritesLogs: overwriteLogs)
        throw ExitStatus(status: try launch.run())
    }
}
