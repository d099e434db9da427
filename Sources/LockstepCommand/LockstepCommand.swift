import ArgumentParser
import CProcess
import Glibc
import Lockstep
import Membership
import Processes
import RawText

/// `lockstep`: flags and printing, nothing else.
@main
struct LockstepCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lockstep",
        abstract: "Trains one model on many workers over plain TCP; the result is the same bits for any number of them.",
        discussion: """
              lockstep train digits -n 4                       on one host, four workers
              lockstep run -n 4 -- .build/release/Spirals      your own program
              lockstep check -n 4                              is all-reduce right here?

            On several hosts start the program on each, with RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT and LOCKSTEP_SECRET in \
            its environment.
            """,
        version: "0.1.0\narithmetic \(Arithmetic.version), kernels: \(Kernels.name)",
        subcommands: [
            TrainCommand.self, RunCommand.self, CheckCommand.self, BenchCommand.self, GenerateCommand.self, EvalCommand.self,
            ExportCommand.self, InspectCommand.self, ScaleCommand.self, StatusCommand.self,
        ])

    static func main() {
        lockstep_process_begin()
        do {
            try StackLimit.require()
            try Kernels.check()
            var command = try parseAsRoot(Array(RawText.arguments().dropFirst()))
            if type(of: command).configuration.subcommands.count > 0 { needsSubcommand(type(of: command)) }
            try command.run()
        } catch let failure as ExitStatus {
            Glibc.exit(failure.status)
        } catch {
            report(error)
        }
    }

    /// A command that does nothing by itself was called by itself: whoever asked for help gets it, who did not has forgotten something.
    private static func needsSubcommand(_ command: any ParsableCommand.Type) -> Never {
        writeAll(helpMessage(for: command) + "\n", to: STDERR_FILENO)
        Glibc.exit(2)
    }

    /// One line for whatever went wrong; help and version are not wrong.
    private static func report(_ error: any Error) -> Never {
        let status = exitCode(for: error)
        if status.isSuccess { exit(withError: error) }
        let text = status == .validationFailure ? line(for: error) : "\(error)"
        printError(text)
        tellTheJob(text)
        Glibc.exit(status == .validationFailure ? 2 : 1)
    }
}

extension LockstepCommand {
    /// Commands that have no workers, or start them themselves: a rank's environment is none of their concern.
    private static let jobless = ["run", "generate", "eval", "export", "inspect", "scale", "status", "help"]

    /// Where this process was started by hand as one of several ranks, the others wait for it.
    private static func tellTheJob(_ text: String) {
        if let command = CommandLine.arguments.dropFirst().first, jobless.contains(command) { return }
        guard let environment = try? WorkerEnvironment.current() else { return }
        Abandonment.tell(environment, reason: text)
    }

    /// What is wrong with the flags, what the flag is for, and where there is more: all that the parser has to say, on one line.
    private static func line(for error: any Error) -> String {
        var text = message(for: error).split(separator: "\n").joined(separator: " ")
        while text.hasSuffix(".") { text.removeLast() }
        let lines = fullMessage(for: error).split(separator: "\n").map(String.init)
        // "Help:  --steps <steps>  Optimizer steps to train for."
        if !text.contains("Please provide"), let help = lines.first(where: { $0.hasPrefix("Help:  ") })?.split(separator: "  "), help.count > 2 {
            let purpose = help[2...].joined(separator: " ")
            text += " (\(purpose.hasSuffix(".") ? String(purpose.dropLast()) : purpose))"
        }
        // "  See 'lockstep train digits --help' for more information."
        let pointer = lines.compactMap { line in
            line.hasPrefix("  See '") ? line.dropFirst(7).prefix { $0 != "'" } : nil
        }
        return text + (text.hasSuffix("?") ? " See " : "; see ") + "\(pointer.first ?? "lockstep --help")"
    }
}

/// Ends the process with a status and no further word: what there is to say has been said.
struct ExitStatus: Error {
    let status: Int32
}

/// `1 worker`, `2 workers`.
func count(_ number: Int, _ one: String, _ many: String? = nil) -> String {
    "\(number) \(number == 1 ? one : many ?? one + "s")"
}

/// Writes to standard output at once: what is printed reaches a pipe or a file when it is printed, in whole lines.
func printOutput(_ text: String, terminator: String = "\n") {
    writeAll(text + terminator, to: STDOUT_FILENO)
}

/// One line on standard error.
func printError(_ text: String) {
    writeAll("lockstep: \(text)\n", to: STDERR_FILENO)
}

/// A reader that has gone is no reason to stop training.
private func writeAll(_ text: String, to descriptor: Int32) {
    var rest = RawText.bytes(text)[...]
    while !rest.isEmpty {
        let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        if count < 0 {
            if errno == EINTR { continue }
            return
        }
        rest = rest.dropFirst(count)
    }
}
