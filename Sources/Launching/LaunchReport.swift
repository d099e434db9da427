import EventLoop
import Membership

/// What the launcher tells people about a run: one line each, for standard error.
enum LaunchReport {
    /// A worker is gone and the others go on; nil where people need not know.
    ///
    /// - Parameter name: as in `rank 2 (pid 1234)`.
    static func death(_ death: Supervision.Death, name: String, after life: Duration, maxRestarts: Int) -> String? {
        var text = name
        if death.wasFenced {
            text += " was frozen and has been killed"
        } else {
            text += " \(death.ending) after \(life.secondsText)"
        }
        switch death.outlook {
        case .unneeded:
            // One that was retiring, or came when all was done, did what it could.
            guard case .killed = death.ending else { return nil }
            return text
        case .nobodyLeft:
            return text + "; no worker is left"
        case .restart(let delay, let number):
            text += goOn(death.remaining)
            text += delay == .zero ? "; it is started again" : "; it is started again in \(delay.secondsText)"
            return text + " (restart \(number) of \(maxRestarts))"
        case .noRestartsLeft:
            text += goOn(death.remaining) + " without it"
            return maxRestarts == 0 ? text : text + ": no restarts are left (--max-restarts \(maxRestarts))"
        }
    }

    /// These ranks are new in the ring of a generation.
    static func arrival(of ranks: [Int], backAgain: Bool, generation: UInt32, workers: Int) -> String {
        let list = ranks.map(String.init).joined(separator: ", ")
        let who = ranks.count == 1 ? "rank \(list) is" : "ranks \(list) are"
        return "\(who) \(backAgain ? "back" : "in"): generation \(generation), \(count(workers))"
    }

    /// No sign of life comes from any worker that has what the job has come to.
    static func silence(_ silence: Silence) -> String {
        switch silence {
        case .begun(let ranks, let time, let limit):
            "no sign of life for \(time.secondsText) of \(list(ranks)), and no other worker has the run's state: stopped, or the machine is; "
                + "the run waits \(limit.secondsText) (--rejoin-timeout)"
        case .over(let rank):
            "rank \(rank) gives signs of life again: the run goes on"
        case .tooLong(let limit):
            "no worker that has the run's state gave a sign of life within \(limit.secondsText) (--rejoin-timeout): the run ends"
        }
    }

    /// `rank 3`, or `ranks 0, 1, 4`, or the first of many.
    private static func list(_ ranks: [Int]) -> String {
        let most = 8
        let text = ranks.prefix(most).map(String.init).joined(separator: ", ")
        return (ranks.count == 1 ? "rank " : "ranks ") + text + (ranks.count > most ? " and \(ranks.count - most) others" : "")
    }

    static func waiting(have: Int, need: Int, limit: Duration) -> String {
        "\(count(have)) left and --min-workers is \(need): the run waits \(limit.secondsText) for more, then writes a checkpoint and stops"
    }

    static func unended(_ names: [String]) -> String {
        "\(names.joined(separator: ", ")) cannot be ended, not even by SIGKILL: stuck inside the kernel"
    }

    static func tornLine(_ name: String) -> String {
        "\(name) wrote a line of more than 1 MiB: it was passed on in parts, between which others' lines may stand"
    }

    static func scale(from before: Int, to after: Int) -> String {
        "scaling from \(count(before)) to \(after)"
    }

    /// The workers are pressed harder; nil where the report of a failure says the rest.
    static func pressure(
        _ signal: Signal, _ reason: Supervision.Reason, grace: Duration, remaining: [String]
    ) -> String? {
        switch (signal, reason) {
        case (.interrupt, _):
            "interrupted: the workers stop after this step; a second time ends them at once, a third time kills them"
        case (.kill, .request), (.kill, .repeatedRequest):
            "killing the workers"
        case (.kill, .graceIsOver):
            remaining.isEmpty ? nil : "killing what did not end when told to: \(remaining.joined(separator: ", "))"
        case (_, .request):
            "told to end by \(signal): the workers stop after this step; those that are there after \(grace.secondsText) are killed"
        case (_, .repeatedRequest):
            "terminating the workers; those that are there after \(grace.secondsText) are killed"
        default:
            nil
        }
    }

    /// `job.json` could not be written.
    static func recordNotWritten(_ directory: String, _ code: SystemCode, isLast: Bool) -> String {
        "cannot write \(directory)/job.json (\(code)); " + (isLast ? "it shows the job as it was before" : "the run goes on, and tries again")
    }

    private static func goOn(_ workers: Int) -> String {
        workers == 0 ? "" : "; \(count(workers)) \(workers == 1 ? "goes" : "go") on"
    }

    private static func count(_ workers: Int) -> String { "\(workers) worker\(workers == 1 ? "" : "s")" }
}
