import EventLoop

/// The worker that brought a run down: who, how, when, and what it said last.
package struct WorkerFailure: Error, Equatable, CustomStringConvertible {
    package let rank: Int
    package let pid: Int32
    package let ending: ChildProcess.Ending
    /// From its start to its end.
    package let after: Duration
    /// The last lines that it wrote to its standard error, or, if there are none, to its standard output.
    package let lastLines: [String]
    /// Where all of its output is, if it was kept.
    package let logPath: String?

    /// `rank 2 (pid 123) exited with status 3 after 1.2 s`, and where all of its output is.
    package var summary: String {
        var text = "rank \(rank) (pid \(pid)) \(ending) after \(after.secondsText)"
        if ending == .killed(by: .kill) { text += ", perhaps by the kernel for lack of memory (see dmesg)" }
        if let logPath { text += "; all that it wrote is in \(logPath)" }
        return text
    }

    /// The summary, `; its last lines:` and, indented, these.
    package var description: String {
        var text = summary
        text += lastLines.isEmpty ? "; it wrote nothing" : "; its last lines:"
        for line in lastLines { text += "\n    \(line)" }
        return text
    }
}
