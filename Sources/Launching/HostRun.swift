import EventLoop
import Glibc

/// One run of a `Launcher`: the processes, the signals and the timer, and nothing to decide. Confined to the calling thread.
final class HostRun {
    private let configuration: LaunchConfiguration
    private let program: String
    private let guardian: Guardian
    private let logs: LogDirectory?
    private let loop: Loop
    private let output: HostOutput
    private let catchUp: Wake
    private let timer: Timer
    private var supervision: Supervision
    private var workers: [Worker] = []
    private let started = ContinuousClock.now
    /// The time that all events of the loop's present pass get.
    private var passTime: (pass: UInt, time: Duration) = (0, .zero)

    private var startError: LaunchError?
    private var failure: WorkerFailure?
    /// The rank to be reported as soon as all of its output is here.
    private var blamed: Int?
    private var status: Int32?
    /// Set when output is waited for no longer.
    private var abandonsOutput = false
    private let relay: Relay

    /// Reading pauses when so many bytes wait to be written: from running workers, and from what ended ones left behind.
    private static let highWaterBytes = 4 << 20
    private static let highWaterBytesAfterEnd = 64 << 20

    /// What callbacks reach the run through, so that none keeps it alive.
    private final class Relay {
        weak var run: HostRun?
    }

    init(
        _ configuration: LaunchConfiguration, program: String, guardian: consuming Guardian, logs: LogDirectory?
    ) throws {
        self.configuration = configuration
        self.program = program
        self.guardian = guardian
        self.logs = logs
        supervision = Supervision(workerCount: configuration.workerCount, limits: configuration.limits)
        let relay = Relay()
        self.relay = relay
        let loop = try Loop()
        self.loop = loop
        do {
            let catchUp = try Wake(loop: loop) { relay.run?.outputCaughtUp() }
            self.catchUp = catchUp
            timer = try Timer(loop: loop) { relay.run?.handle(.tick) }
            output = try HostOutput(configuration, logs: logs, drained: { catchUp.signal() })
        } catch {
            loop.close()
            throw error
        }
        relay.run = self
    }

    // MARK: From start to end

    /// Opens what listens beside the workers, then starts them. A worker that cannot be started is kept in mind for `finish`.
    func start() throws {
        try watchSignals()
        let master = try configuration.beforeStart(loop)
        let width = "\(configuration.firstRank + configuration.workerCount - 1)".utf8.count
        for local in 0..<configuration.workerCount {
            let rank = configuration.firstRank + local
            let digits = "\(rank)"
            let prefix = !configuration.marksOutput ? "" : "[" + String(repeating: " ", count: width - digits.utf8.count) + digits + "] "
            let specification = ChildProcess.Specification(
                program: program, arguments: configuration.arguments,
                environment: configuration.environment(localRank: local, master: master))
            let destinations = Worker.Destinations(
                output: output.output, errors: output.errors, log: output.logs.isEmpty ? nil : output.logs[local])
            do throws(LoopError) {
                let worker = try Worker(loop: loop, rank: rank, prefix: prefix, specification, destinations) {
                    [relay] worker, event in relay.run?.handle(worker, event)
                }
                guardian.watch(group: worker.pid)
                workers.append(worker)
                handle(.started(rank: local))
            } catch {
                startError = .workerNotStarted(rank: rank, program: program, code: error.code ?? .invalid)
                return handle(.startFailed)
            }
        }
    }

    /// Runs the loop until all is over and written.
    func finish() throws -> Launcher.Outcome {
        loop.run()
        if let startError { throw startError }
        return Launcher.Outcome(status: status!, failure: failure)
    }

    /// Closes everything; harmless when there is nothing to close.
    func close() {
        loop.close()
        if abandonsOutput { output.abandon() } else { output.close() }
    }

    private func watchSignals() throws {
        // A signal that was ignored from the start (nohup, a shell's background job) is to stay so.
        for signal in [Signal.interrupt, .terminate, .hangUp] where !signal.isIgnored {
            _ = try SignalWatcher(loop: loop, signal: signal) { [relay] in
                guard let run = relay.run else { return }
                if run.status != nil { return run.stopWriting() }
                run.handle(signal == .interrupt ? .interrupt : .terminate)
            }
        }
    }

    // MARK: Events in

    private func handle(_ worker: Worker, _ event: Worker.Event) {
        let local = worker.rank - configuration.firstRank
        switch event {
        case .exited(let ending):
            if !worker.hasLeftovers { guardian.forget(group: worker.pid) }
            configuration.workerExited(worker.rank, ending)
            handle(.exited(rank: local, ending))
            setPace()
        case .output:
            if output.queuedBytes > HostRun.highWaterBytes { setPace() }
        case .outputEnded:
            handle(.outputEnded(rank: local))
        }
    }

    private func handle(_ event: Supervision.Event) {
        // One time for all that one pass of the loop finds: which of those came first is not known.
        if passTime.pass != loop.pass { passTime = (loop.pass, ContinuousClock.now - started) }
        for action in supervision.receive(event, at: passTime.time) { perform(action) }
        if let next = supervision.nextDeadline {
            timer.start(after: next - passTime.time)
        } else {
            timer.stop()
        }
        reportIfComplete()
    }

    private func outputCaughtUp() {
        if status == nil { return setPace() }
        if output.queuedBytes == 0 { loop.stop() }
    }

    /// Makes workers wait while the reader of their output does.
    private func setPace() {
        let queued = output.queuedBytes
        for worker in workers where worker.outputIsOpen {
            let limit = worker.ending == nil ? HostRun.highWaterBytes : HostRun.highWaterBytesAfterEnd
            if queued > limit { worker.pause() } else { worker.resume() }
        }
    }

    // MARK: Actions out

    private func perform(_ action: Supervision.Action) {
        switch action {
        case .signal(let rank, let signal): workers[rank].signal(signal)
        case .blame(let rank, _): blamed = rank
        case .closeOutput(let rank): workers[rank].closeOutput()
        case .announce(let signal, let reason): announce(signal, reason)
        case .abandon(let ranks):
            say("\(names(ranks)) cannot be ended, not even by SIGKILL: stuck inside the kernel")
        case .finish(let status): allEnded(status)
        }
    }

    private func announce(_ signal: Signal, _ reason: Supervision.Reason) {
        switch (signal, reason) {
        case (.interrupt, _):
            say("interrupted: the workers have been told; a second time terminates them, a third time kills them")
        case (.terminate, .request):
            let grace = configuration.limits.graceAfterRequest.secondsText
            say("terminating the workers; those that are there after \(grace) are killed")
        case (.kill, .request):
            say("killing the workers")
        case (.kill, .graceIsOver):
            let left = workers.indices.filter { workers[$0].ending == nil }
            if !left.isEmpty { say("killing what did not end when told to: \(names(left))") }
        default:
            // The report of the failure says the rest.
            break
        }
    }

    private func names(_ ranks: [Int]) -> String {
        ranks.map { "rank \(workers[$0].rank) (pid \(workers[$0].pid))" }.joined(separator: ", ")
    }

    /// Reports the culprit, once all that it wrote is here to be quoted.
    private func reportIfComplete() {
        guard let rank = blamed, !workers[rank].outputIsOpen || status != nil else { return }
        blamed = nil
        let worker = workers[rank]
        let failure = WorkerFailure(
            rank: worker.rank, pid: worker.pid, ending: worker.ending!, after: worker.endedAfter, lastLines: worker.lastLines,
            logPath: logs?.path(rank))
        self.failure = failure
        // Without marks there is one program on the terminal, whose last lines stand just above.
        say(configuration.marksOutput ? failure.description : failure.summary)
    }

    private func allEnded(_ status: Int32) {
        for worker in workers where worker.hasLeftovers {
            worker.signal(.kill)
            guardian.forget(group: worker.pid)
        }
        self.status = status
        reportIfComplete()
        configuration.afterEnd()
        output.whenWritten { [catchUp] in catchUp.signal() }
    }

    /// A signal after the end: whoever sent it does not want to wait for the reader of the output.
    private func stopWriting() {
        abandonsOutput = true
        loop.stop()
    }

    private func say(_ text: String) {
        output.errors.write(Array("lockstep: \(text)\n".utf8))
    }
}
