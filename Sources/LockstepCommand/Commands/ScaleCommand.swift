import ArgumentParser
import Launching
import Lockstep
import Membership
import Wire

/// `lockstep scale -n N --out DIR`.
struct ScaleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scale", abstract: "Changes the number of workers of a job while it runs.",
        discussion: """
            lockstep train text --data FILE -n 4 --out RUN &
            lockstep scale -n 6 --out RUN

            New workers come in at the end of a step, with the others' state; those that are too many go then. The result is \
            the same bits. Call it on the launcher's host, as the user who started the job.
            """)

    @Option(name: [.customShort("n"), .long], parsing: .unconditional, help: "Workers that the job is to have.")
    var workers: Int

    @Option(help: "The job's --out, or its --job-dir.")
    var out: String

    func validate() throws {
        if !(1...LaunchConfiguration.mostWorkers).contains(workers) {
            throw ValidationError("-n is \(workers), which must be from 1 to \(LaunchConfiguration.mostWorkers).")
        }
        try requirePath(out, "--out")
    }

    func run() throws {
        let job = try RunningJob(directory: out)
        do {
            printOutput(try JobClient(host: job.host, port: job.port, secret: job.secret).scale(to: workers))
        } catch {
            throw UsageError("the job in \(out) was not scaled: \(error)")
        }
    }
}

/// `lockstep status --out DIR`.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Shows the workers of a job: rank, pid, state, restarts.")

    @Option(help: "The job's --out, or its --job-dir.")
    var out: String

    func validate() throws {
        try requirePath(out, "--out")
    }

    func run() throws {
        if let fault = JobDirectory.fault(in: out) { throw UsageError(fault) }
        guard let record = JobDirectory.read(out) else { throw RunningJob.missing(out) }
        let isRunning = JobDirectory.isRunning(out, record)
        let state = isRunning ? "running" : record.status.map { "ended with status \($0)" } ?? "killed"
        printOutput("\(state): launcher \(record.pid) on \(record.host), coordinator \(record.coordinator), generation \(record.generation)")
        for worker in record.workers {
            let state = isRunning || record.status != nil ? worker.state.rawValue : "gone"
            printOutput("rank \(worker.rank)  pid \(worker.pid)  \(worker.host)  \(state)  \(count(worker.restarts, "restart"))")
        }
    }
}

/// How to reach the job of a directory.
private struct RunningJob {
    let host: String
    let port: UInt16
    let secret: Secret

    init(directory: String) throws {
        if let fault = JobDirectory.fault(in: directory) { throw UsageError(fault) }
        guard let record = JobDirectory.read(directory) else { throw RunningJob.missing(directory) }
        if let status = record.status { throw UsageError("the job in \(directory) has ended, with status \(status)") }
        guard record.host == currentHostName() else {
            throw UsageError("the job in \(directory) runs on \(record.host): call this there")
        }
        guard JobDirectory.isRunning(directory, record) else {
            throw UsageError("the job in \(directory) has ended: its launcher (pid \(record.pid)) was killed; start it again with --resume")
        }
        guard let secret = JobDirectory.readSecret(directory) else {
            throw UsageError("cannot read \(directory)/job.secret: it is for the user who started the job")
        }
        let parts = record.coordinator.split(separator: ":")
        guard parts.count == 2, let port = UInt16(parts[1]) else { throw RunningJob.missing(directory) }
        host = String(parts[0])
        self.port = port
        self.secret = secret
    }

    static func missing(_ directory: String) -> UsageError {
        UsageError(
            "there is no job in \(directory): it shows itself in \(directory)/job.json, with `train --out` or `run --job-dir`")
    }
}
