import EventLoop
import Glibc

/// One worker process of this host, and its two outputs on their way to where the launcher's lines go. Confined to the loop.
final class Worker {
    /// Where a worker's lines go.
    struct Destinations {
        let output: OutputWriter.Destination
        let errors: OutputWriter.Destination
        /// The worker's own file, if it has one.
        let log: OutputWriter.Destination?
    }

    enum Event {
        case exited(ChildProcess.Ending)
        /// Something has been handed to the writer.
        case output
        /// Both outputs have ended.
        case outputEnded
    }

    let rank: Int
    let pid: Int32
    private(set) var ending: ChildProcess.Ending?
    private(set) var endedAfter = Duration.zero
    private(set) var outputIsOpen = true

    private let started = ContinuousClock.now
    private let destinations: Destinations
    private let prefix: [UInt8]
    private var child: ChildProcess?
    private var outputs: [Output] = []
    private var leftGroup = false
    private let happened: (Worker, Event) -> Void

    /// One of the two pipes, with what it takes to make lines of it.
    private final class Output {
        let reader: PipeReader
        let destination: OutputWriter.Destination
        var splitter = LineSplitter()
        var lastLines = LastLines()

        init(_ reader: PipeReader, to destination: OutputWriter.Destination) {
            self.reader = reader
            self.destination = destination
        }
    }

    /// Starts the worker. `happened` is called on the loop's thread, later. Throws what `ChildProcess` throws.
    init(
        loop: Loop, rank: Int, prefix: String, _ specification: ChildProcess.Specification, _ destinations: Destinations,
        happened: @escaping (Worker, Event) -> Void
    ) throws(LoopError) {
        var specification = specification
        specification.output = .pipe
        specification.errors = .pipe
        specification.ownGroup = true
        self.rank = rank
        self.prefix = Array(prefix.utf8)
        self.destinations = destinations
        self.happened = happened
        weak var worker: Worker?
        let child = try ChildProcess(loop: loop, specification) { worker?.didExit($0) }
        pid = child.pid
        self.child = child
        worker = self
        outputs = [
            Output(child.output!, to: destinations.output), Output(child.errors!, to: destinations.errors),
        ]
        for output in outputs {
            output.reader.received = { [unowned self, unowned output] in received($0, from: output) }
            output.reader.ended = { [unowned self, unowned output] _ in ended(output) }
            output.reader.startReading()
        }
    }

    // MARK: Control

    /// To the whole group, if there still is one.
    func signal(_ signal: Signal) {
        guard let child, ending == nil || leftGroup && child.groupHasMembers else { return }
        child.signalGroup(signal)
    }

    /// Whether the worker, when it ended, left processes behind that are still there.
    var hasLeftovers: Bool { leftGroup && child?.groupHasMembers == true }

    /// Lets the worker wait, once the pipes are full, or go on.
    func pause() {
        for output in outputs { output.reader.stopReading() }
    }

    func resume() {
        for output in outputs where !output.reader.isClosed { output.reader.startReading() }
    }

    /// Stops reading: what is still to come is lost.
    func closeOutput() {
        for output in outputs where !output.reader.isClosed { ended(output) }
    }

    /// The newest lines of the standard error, or, if there are none, of the standard output.
    var lastLines: [String] {
        outputs[1].lastLines.isEmpty ? outputs[0].lastLines.text : outputs[1].lastLines.text
    }

    // MARK: Callbacks

    private func didExit(_ ending: ChildProcess.Ending) {
        guard let child else { return }
        self.ending = ending
        endedAfter = ContinuousClock.now - started
        leftGroup = child.groupHasMembers
        child.close()
        happened(self, .exited(ending))
    }

    private func received(_ chunk: UnsafeRawBufferPointer, from output: Output) {
        var block: [UInt8] = []
        var logged: [UInt8] = []
        block.reserveCapacity(chunk.count + chunk.count / 4)
        output.splitter.append(chunk) { add($0, to: &block, &logged, output) }
        send(block, logged, output)
        happened(self, .output)
    }

    private func ended(_ output: Output) {
        output.reader.close()
        var block: [UInt8] = []
        var logged: [UInt8] = []
        output.splitter.finish { add($0, to: &block, &logged, output) }
        send(block, logged, output)
        guard outputs.allSatisfy({ $0.reader.isClosed }), outputIsOpen else { return }
        outputIsOpen = false
        happened(self, .outputEnded)
    }

    private func add(
        _ line: UnsafeRawBufferPointer, to block: inout [UInt8], _ logged: inout [UInt8], _ output: Output
    ) {
        let newline = UInt8(ascii: "\n")
        block += prefix
        block += line
        block.append(newline)
        if destinations.log != nil {
            logged += line
            logged.append(newline)
        }
        output.lastLines.append(line)
    }

    private func send(_ block: [UInt8], _ logged: [UInt8], _ output: Output) {
        output.destination.write(block)
        destinations.log?.write(logged)
    }
}
