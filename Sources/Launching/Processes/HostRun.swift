import EventLoop
import Glibc
import Membership
import RawText

/// One run of a `Launcher`: the processes, the coordinator, the signals and the timer, and nothing to decide. Confined to the
/// calling thread.
final class HostRun {
    let configuration: LaunchConfiguration
    let loop: Loop
    let crew: Crew
    private let logs: LogDirectory?
    private let output: HostOutput
    private let catchUp: Wake
    private let timer: Timer
    private var supervision: Supervision
    private let started = SuspendingClock.now
    var clock = AwakeClock()
    /// The time that all events of the loop's present pass get.
    private var passTime: (pass: UInt, time: Duration) = (0, .zero)

    private var startError: LaunchError?
    private var failure: WorkerFailure?
    /// The life, and its end, to be reported as soon as all of its output is here.
    private var blamed: EndedLife?
    private(set) var status: Int32?
    /// Set when output is waited for no longer.
    private var abandonsOutput = false
    private var hasBeenAsked = false
    /// Lives whose ends people know of.
    private var lossesTold: Set<Life> = []
    let relay: Relay

    let job: JobDirectory?
    var coordinator: Coordinator?
    var record: JobRecord?
    var recordIsStale = false
    /// Whether the last try to write it has failed, and when it is tried again.
    var recordIsFailing = false
    let recordTimer: Timer
    /// Ranks in the present ring.
    var members: Set<Int> = []

    /// What callbacks reach the run through, so that none keeps it alive.
    final class Relay: @unchecked Sendable {
        // SAFETY (@unchecked Sendable): read and written on the loop's thread only.
        weak var run: HostRun?
    }

    init(
        _ configuration: LaunchConfiguration, program: String, guardian: consuming Guardian, logs: LogDirectory?, job: JobDirectory?
    ) throws {
        self.configuration = configuration
        self.logs = logs
        self.job = job
        supervision = Supervision(workerCount: configuration.workerCount, policy: configuration.policy)
        let relay = Relay()
        self.relay = relay
        let loop = try Loop()
        self.loop = loop
        let ticker: Timer
        do {
            let catchUp = try Wake(loop: loop) { relay.run?.outputCaughtUp() }
            self.catchUp = catchUp
            timer = try Timer(loop: loop) { relay.run?.handle(.tick) }
            recordTimer = try Timer(loop: loop) { relay.run?.writeRecord() }
            ticker = try Timer(loop: loop) { relay.run?.readLately() }
            output = try HostOutput(configuration, hasLogs: logs != nil, drained: { catchUp.signal() })
        } catch {
            loop.close()
            throw error
        }
        crew = Crew(configuration, program: program, guardian: guardian, logs: logs, output: output, loop: loop,
            ticker: ticker)
        relay.run = self
    }

    // MARK: From start to end

    /// Opens what listens beside the workers, then starts them. A worker that cannot be started is kept in mind for `finish`.
    func start() throws {
        try watchSignals()
        if let lack = job?.lock.lack { say(lack.description) }
        try configuration.beforeStart(loop)
        try openCoordinator(relay)
        for local in 0..<configuration.workerCount {
            start(local)
            if startError != nil { return }
        }
    }

    /// Runs the loop until all is over and written.
    func finish() throws -> Launcher.Outcome {
        loop.run()
        if let startError { throw startError }
        guard let status else { preconditionFailure("the loop has ended before the run") }
        return Launcher.Outcome(status: status, failure: failure, hasMetWorkers: coordinator?.hasMetWorkers ?? false)
    }

    /// Closes everything; harmless when there is nothing to close.
    func close() {
        loop.close()
        if abandonsOutput { output.abandon() } else { output.close() }
    }

    private func watchSignals() throws {
        if !Signal.terminalStop.isIgnored {
            _ = try SignalWatcher(loop: loop, signal: .terminalStop) { [relay] in relay.run?.stopWithWorkers() }
        }
        // A signal that was ignored from the start (nohup, a shell's background job) is to stay so.
        for signal in [Signal.interrupt, .terminate, .hangUp, .user1] where !signal.isIgnored {
            _ = try SignalWatcher(loop: loop, signal: signal) { [relay] in
                guard let run = relay.run else { return }
                if run.status != nil { return run.stopWriting() }
                // A terminal that hangs up means the end as much as SIGTERM does.
                run.handle(signal == .interrupt ? .interrupt : .terminate(by: signal == .hangUp ? .terminate : signal))
            }
        }
    }

    // MARK: Events in

    private func handle(_ worker: Worker, _ event: Worker.Event) {
        let local = worker.life.rank
        guard crew[local] === worker else { return }
        switch event {
        case .exited(let ending):
            crew.ended(worker)
            let isObedient = supervision.isObedience(ending, of: local)
            // The coordinator hears of this life's end before the next one begins.
            handle(.exited(rank: local, ending)) { actions in
                let willReturn = supervision.willReturn(rank: local) || actions.contains(.start(rank: local))
                workerEnded(worker, ending, isObedient: isObedient, willReturn: willReturn)
            }
            crew.setPace()
        case .output:
            crew.wrote(worker)
        case .outputEnded:
            if worker.hasTornLine { say(LaunchReport.tornLine(worker.name)) }
            handle(.outputEnded(rank: local))
        }
    }

    /// - Parameter decided: called when it is known what is to be done, before any of it is.
    func handle(_ event: Supervision.Event, decided: ([Supervision.Action]) -> Void = { _ in }) {
        // One time for all that one pass of the loop finds: which of those came first is not known.
        if passTime.pass != loop.pass { passTime = (loop.pass, clock.now(at: SuspendingClock.now - started)) }
        let actions = supervision.receive(event, at: passTime.time)
        decided(actions)
        for action in actions { perform(action) }
        clock.wakeAt = supervision.nextDeadline
        crew.forgetLives(but: supervision.suspects + (blamed.map { [$0.life] } ?? []))
        if let next = supervision.nextDeadline {
            timer.start(after: max(.zero, next - passTime.time))
        } else {
            timer.stop()
        }
        reportIfComplete()
    }

    /// The time for begun lines has come. What came meanwhile, while this process or its machine was busy, is read first.
    private func readLately() {
        _ = loop.enqueue { [relay] in relay.run?.crew.tick() }
    }

    /// Ctrl-Z stops this process only, since workers are in groups of their own: they stop with it, and go on with it.
    private func stopWithWorkers() {
        crew.signalAll(.stop)
        let before = SuspendingClock.now
        // Not SIGTSTP, which the kernel drops where no shell could make the process go on. It returns when SIGCONT has come.
        raise(Signal.stop.rawValue)
        clock.slept(SuspendingClock.now - before)
        crew.signalAll(.resume)
    }

    private func outputCaughtUp() {
        if status == nil { return crew.setPace() }
        if output.queuedBytes == 0 { loop.stop() }
    }

    // MARK: Actions out

    private func perform(_ action: Supervision.Action) {
        switch action {
        case .start(let local): start(local)
        case .signal(let local, let signal): crew[local]?.signal(signal)
        case .lost(let loss): report(loss)
        case .blame(let life, let ending): blamed = EndedLife(life: life, ending: ending)
        case .closeOutput(let local): crew[local]?.closeOutput()
        case .announce(let signal, let reason): announce(signal, reason)
        case .abandon(let locals):
            say("\(locals.map(crew.name).joined(separator: ", ")) cannot be ended, not even by SIGKILL: stuck inside the kernel")
        case .finish(let status): allEnded(status)
        }
    }

    private func start(_ local: Int) {
        let worker: Worker
        do throws(LaunchError) {
            worker = try crew.start(local) { [relay] worker, event in relay.run?.handle(worker, event) }
        } catch {
            if supervision.canDoWithout(rank: local) { say(error.description) } else { startError = startError ?? error }
            return handle(.startFailed(rank: local))
        }
        workerStarted(worker)
        handle(.started(rank: local, life: worker.life.number))
    }

    private func report(_ loss: Supervision.Loss) {
        guard let worker = crew[loss.life] else { return }
        let text = LaunchReport.loss(
            loss, name: worker.name, after: worker.endedAfter, maxRestarts: configuration.policy.maxRestarts)
        if let text { say(text) }
        lossesTold.insert(worker.life)
    }

    private func announce(_ signal: Signal, _ reason: Supervision.Reason) {
        let text = LaunchReport.pressure(
            signal, reason, isFirstRequest: !hasBeenAsked, grace: configuration.policy.limits.graceAfterRequest,
            remaining: crew.running.map(\.name))
        if reason == .request { hasBeenAsked = true }
        if let text { say(text) }
    }

    /// Reports the culprit, once all that it wrote is here to be quoted.
    private func reportIfComplete() {
        guard let blamed, let worker = crew[blamed.life], !worker.outputIsOpen || status != nil else { return }
        self.blamed = nil
        let failure = WorkerFailure(
            rank: worker.rank, pid: worker.pid, ending: blamed.ending, after: worker.endedAfter, lastLines: worker.lastLines,
            logPath: logs?.path(rank: worker.rank))
        self.failure = failure
        if !configuration.marksOutput {
            // There is one program on the terminal, whose last lines stand just above. With one worker there is nothing to add to them, and a
            // death has been told of already.
            if case .exited = blamed.ending { if crew.count == 1 { return } } else if lossesTold.contains(worker.life) { return }
        }
        say(configuration.marksOutput ? failure.description : failure.summary)
    }

    private func allEnded(_ status: Int32) {
        crew.buryAll()
        self.status = status
        reportIfComplete()
        closeCoordinator(status)
        output.whenWritten { [catchUp] in catchUp.signal() }
    }

    /// A signal after the end: whoever sent it does not want to wait for the reader of the output.
    private func stopWriting() {
        abandonsOutput = true
        loop.stop()
    }

    func say(_ text: String) {
        output.errors.write(RawText.bytes("lockstep: \(text)\n"))
    }
}
