import EventLoop
import Glibc
import RawText

/// All places that a launcher writes to: its output, its errors, and the workers' logs, each with a thread of its own,
/// so that a paused reader of one holds up none of the others. Output and errors that are the same file share one, for
/// lines to stay whole.
final class HostOutput {
    let output: OutputWriter.Destination
    let errors: OutputWriter.Destination
    private let writers: [OutputWriter]

    /// `drained` is called on the writers' threads, whenever one of them has caught up.
    init(
        _ configuration: LaunchConfiguration, hasLogs: Bool, drained: @escaping @Sendable () -> Void
    ) throws(LoopError) {
        let output = configuration.outputDescriptor
        let errors = configuration.errorDescriptor
        let isShared = HostOutput.isSameFile(output, errors)
        let failed = { @Sendable (descriptor: Int32, code: SystemCode, isFinal: Bool) in
            guard descriptor != errors else { return }
            let what = isFinal ? "output can no longer be written" : "\(HostOutput.path(descriptor)) cannot be written"
            let rest = isFinal ? "without it" : "and tries again"
            HostOutput.complain("\(what) (\(code)); the run goes on\(isFinal ? " " : ", ")\(rest)", to: errors)
        }
        var writers: [OutputWriter] = []
        do throws(LoopError) {
            for _ in 0..<(isShared ? 1 : 2) { writers.append(try OutputWriter(drained: drained, failed: failed)) }
            if hasLogs { writers.append(try OutputWriter(ownsFiles: true, drained: drained, failed: failed)) }
        } catch {
            for writer in writers { writer.close() }
            throw error
        }
        self.writers = writers
        let openLine = OutputWriter.Destination.OpenLine()
        self.output = OutputWriter.Destination(writer: writers[0], descriptor: output, openLine: openLine)
        self.errors =
            isShared
            ? OutputWriter.Destination(writer: writers[0], descriptor: errors, openLine: openLine)
            : OutputWriter.Destination(writer: writers[1], descriptor: errors)
    }

    /// A worker's log, of which this is the open file. For hosts with logs.
    func log(_ descriptor: Int32) -> OutputWriter.Destination {
        OutputWriter.Destination(writer: writers[writers.count - 1], descriptor: descriptor)
    }

    /// A line of the launcher's own, for people.
    func say(_ text: String) {
        errors.write(RawText.bytes("lockstep: \(text)\n"))
    }

    /// Bytes that wait to be written, where most do.
    var queuedBytes: Int { writers.reduce(0) { max($0, $1.queuedBytes) } }

    /// Calls `done`, on the writers' threads, each time when one has written all that it was given before;
    /// `queuedBytes` is 0 at the last.
    func whenWritten(_ done: @escaping @Sendable () -> Void) {
        for writer in writers { writer.whenWritten(done) }
    }

    /// Ends the threads, after they have written everything.
    func close() {
        for writer in writers { writer.close() }
    }

    /// Ends those threads that have written everything, and leaves the others alone, for a process that is about to
    /// exit.
    func abandon() {
        for writer in writers {
            if writer.queuedBytes == 0 { writer.close() } else { writer.abandon() }
        }
    }

    private static func isSameFile(_ one: Int32, _ other: Int32) -> Bool {
        var first = stat()
        var second = stat()
        guard fstat(one, &first) == 0, fstat(other, &second) == 0 else { return one == other }
        return first.st_dev == second.st_dev && first.st_ino == second.st_ino
    }

    /// The file's path, by the kernel.
    private static func path(_ descriptor: Int32) -> String {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Int(PATH_MAX)) { buffer in
            let count = readlink("/proc/self/fd/\(descriptor)", buffer.baseAddress!, buffer.count)
            return count > 0 ? RawText.string(buffer.prefix(count)) : "output"
        }
    }

    private static func complain(_ text: String, to descriptor: Int32) {
        let line = RawText.bytes("lockstep: \(text)\n")
        // If this fails too it cannot be reported.
        _ = write(descriptor, line, line.count)
    }
}
