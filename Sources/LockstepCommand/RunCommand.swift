import ArgumentParser
import Glibc
import Lockstep

/// `lockstep run -n N -- PROGRAM ARGS`.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Starts workers of any program built on the library, on this host.")

    @Option(name: [.customShort("n"), .long], parsing: .unconditional, help: "Workers to start.")
    var workers = 1

    @Option(help: "Directory for a log of each worker's output, rank-N.log.")
    var logDir: String?

    @Argument(parsing: .postTerminator, help: "The program and its arguments.")
    var program: [String] = []

    func validate() throws {
        if program.isEmpty { throw ValidationError("no program: lockstep run -n 4 -- PROGRAM ARGS") }
        if !(1...1024).contains(workers) { throw ValidationError("-n is \(workers), which must be from 1 to 1024.") }
    }

    func run() throws {
        throw ExitStatus(status: try launch(program[0], Array(program.dropFirst()), workers: workers, logDirectory: logDir, marksOutput: true))
    }
}
