import EventLoop
import Glibc

/// One worker process of this host, one life of its rank, and its two outputs, which are passed on to where the
/// launcher's lines go. Confined to the loop.
final class WorkerProcess {
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

    /// Its rank in the job.
    let rank: Int
    let life: Life
    let pid: Int32
    private(set) var ending: ChildProcess.Ending?
    private(set) var endedAfter = Duration.zero
    private(set) var outputIsOpen = true
    /// People know of its end.
    var isDeathTold = false

    private let started = ContinuousClock.now
    private var child: ChildProcess?
    private var outputs: [Output] = []
    private var leftGroup = false
    private let happened: (WorkerProcess, Event) -> Void

    /// One of the two pipes, with what is needed to pass on its lines: to the common destination, and to the worker's
    /// own file.
    private final class Output {
        let reader: PipeReader
        var ways: [Way]
        var lastLines = LastLines()

        struct Way {
            let destination: OutputWriter.Destination
            var passer: LinePasser
        }

        init(
            _ reader: PipeReader, to destination: OutputWriter.Destination, marked prefix: [UInt8],
            log: OutputWriter.Destination?
        ) {
            self.reader = reader
            ways = [Way(destination: destination, passer: LinePasser(prefix: prefix))]
            if let log { ways.append(Way(destination: log, passer: LinePasser(prefix: []))) }
        }

        /// Passes on, to every destination, what `take` returns for it. `take` is told whether the last line there is
        /// this output's own.
        func pass(_ take: (_ passer: inout LinePasser, _ isFirst: Bool, _ standsOpen: Bool) -> LinePasser.Passed) {
            for index in ways.indices {
                let destination = ways[index].destination
                let passed = take(&ways[index].passer, index == 0, destination.standsOpen(for: self))
                destination.write(passed.bytes, leavingOpen: passed.standsOpen, by: self)
            }
        }
    }

    /// Starts the worker. `happened` is called on the loop's thread, later. Throws what `ChildProcess` throws.
    init(
        loop: Loop, rank: Int, life: Life, prefix: String, _ specification: ChildProcess.Specification,
        _ destinations: Destinations, happened: @escaping (WorkerProcess, Event) -> Void
    ) throws(LoopError) {
        var specification = specification
        specification.output = .pipe
        specification.errors = .pipe
        specification.ownGroup = true
        self.rank = rank
        self.life = life
        self.happened = happened
        weak var worker: WorkerProcess?
        let child = try ChildProcess(loop: loop, specification) { worker?.didExit($0) }
        pid = child.pid
        self.child = child
        worker = self
        outputs = [
            (child.output, destinations.output), (child.errors, destinations.errors),
        ].compactMap { reader, destination in
            reader.map { Output($0, to: destination, marked: Array(prefix.utf8), log: destinations.log) }
        }
        for output in outputs {
            output.reader.received = { [unowned self, unowned output] in received($0, from: output) }
            output.reader.ended = { [unowned self, unowned output] _ in ended(output) }
            output.reader.startReading()
        }
    }

    /// `rank 2 (pid 1234)`.
    var name: String { "rank \(rank) (pid \(pid))" }

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
        (outputs.last { !$0.lastLines.isEmpty } ?? outputs.first)?.lastLines.text ?? []
    }

    /// Whether a begun line waits for `tick`.
    var hasBegunLine: Bool { outputs.contains { $0.ways.contains(where: \.passer.isPending) } }

    /// Others' lines have been written within one of this worker's, which was too long to be kept.
    var hasTornLine: Bool { outputs.contains { $0.ways[0].passer.hasTornLine } }

    /// Passes on begun lines that have waited long enough.
    func tick() {
        let now = ContinuousClock.now - started
        for output in outputs { output.pass { passer, _, standsOpen in passer.tick(at: now, standsOpen: standsOpen) } }
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
        let now = ContinuousClock.now - started
        output.pass { passer, isFirst, standsOpen in
            passer.append(chunk, at: now, standsOpen: standsOpen) { if isFirst { output.lastLines.append($0) } }
        }
        happened(self, .output)
    }

    private func ended(_ output: Output) {
        output.reader.close()
        output.pass { passer, isFirst, standsOpen in
            passer.finish(standsOpen: standsOpen) { if isFirst { output.lastLines.append($0) } }
        }
        guard outputs.allSatisfy({ $0.reader.isClosed }), outputIsOpen else { return }
        outputIsOpen = false
        happened(self, .outputEnded)
    }
}
