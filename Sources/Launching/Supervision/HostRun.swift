import EventLoop
import Glibc
import Membership

/// One run of a `Launcher`: drives a `Supervision` with processes, a coordinator, signals and a timer, and decides
/// nothing itself. Confined to the calling thread.
final class HostRun {
    /// How far the run has come.
    private enum Stage {
        /// There are workers, or they are about to be started.
        case working
        /// All have ended; what they wrote is being passed on.
        case writing(status: Int32)
        /// The user does not wait for the rest of the output.
        case cutShort(status: Int32)
    }

    /// The report of the worker that is to blame.
    private enum Report {
        case none
        /// It is made as soon as all of the life's output is here to be quoted.
        case pending(EndedLife)
        case made(WorkerFailure)
    }

    let configuration: LaunchConfiguration
    let loop: Loop
    let crew: Crew
    let output: HostOutput
    private let logs: LogDirectory?
    private let catchUp: Wake
    private let timer: Timer
    private var supervision: Supervision
    private var clock = RunClock()
    private var stage = Stage.working
    private var report = Report.none
    /// Why the first worker that could not be started could not.
    private var startError: LaunchError?

    var coordinator: Coordinator?
    let journal: JobJournal?
    /// Ranks in the current ring.
    var members: Set<Int> = []
    private let relay: Relay

    /// What callbacks reach the run through, so that none keeps it alive.
    final class Relay: @unchecked Sendable {
        // SAFETY (@unchecked Sendable): read and written on the loop's thread only.
        weak var run: HostRun?
    }

    init(
        _ configuration: LaunchConfiguration, program: String, guardian: consuming Guardian, logs: LogDirectory?,
        job: JobDirectory?
    ) throws {
        self.configuration = configuration
        self.logs = logs
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
            ticker = try Timer(loop: loop) { relay.run?.readLately() }
            let output = try HostOutput(configuration, hasLogs: logs != nil, drained: { catchUp.signal() })
            self.output = output
            journal = try job.map { (job) throws(LoopError) in try JobJournal(job, loop: loop, say: output.say) }
        } catch {
            loop.close()
            throw error
        }
        crew = Crew(
            configuration, program: program, guardian: guardian, logs: logs, output: output, loop: loop, ticker: ticker)
        relay.run = self
    }

    /// What the run ends with, once all workers have.
    var status: Int32? {
        switch stage {
        case .working: nil
        case .writing(let status), .cutShort(let status): status
        }
    }

    // MARK: From start to end

    /// Opens what listens beside the workers, then starts them. A worker that cannot be started is kept for `finish` to
    /// throw.
    func start() throws {
        try watchSignals()
        if let lack = journal?.lockFault { output.say(lack) }
        try configuration.beforeStart(loop)
        try openCoordinator { [relay] event in relay.run?.receive(event) }
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
        let failure: WorkerFailure? = if case .made(let failure) = report { failure } else { nil }
        return Launcher.Outcome(status: status, failure: failure, hasMetWorkers: coordinator?.hasMetWorkers ?? false)
    }

    /// Closes everything; harmless when there is nothing to close.
    func close() {
        loop.close()
        if case .cutShort = stage { output.abandon() } else { output.close() }
    }

    private func watchSignals() throws {
        if !Signal.terminalStop.isIgnored {
            _ = try SignalWatcher(loop: loop, signal: .terminalStop) { [relay] in relay.run?.stopWithWorkers() }
        }
        // A signal that was ignored from the start (nohup, a shell's background job) is to stay so.
        for signal in [Signal.interrupt, .terminate, .hangUp, .user1] where !signal.isIgnored {
            _ = try SignalWatcher(loop: loop, signal: signal) { [relay] in relay.run?.received(signal) }
        }
    }

    // MARK: Events in

    private func received(_ signal: Signal) {
        if let status {
            // After the end: the user does not want to wait for the reader of the output.
            stage = .cutShort(status: status)
            return loop.stop()
        }
        // A terminal that hangs up means the end as much as SIGTERM does.
        handle(signal == .interrupt ? .interrupt : .terminate(by: signal == .hangUp ? .terminate : signal))
    }

    private func handle(_ worker: WorkerProcess, _ event: WorkerProcess.Event) {
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
            if worker.hasTornLine { output.say(LaunchReport.tornLine(worker.name)) }
            handle(.outputEnded(rank: local))
        }
    }

    /// - Parameter decided: called when it is known what is to be done, before any of it is.
    func handle(_ event: Supervision.Event, decided: ([Supervision.Action]) -> Void = { _ in }) {
        let now = clock.now(pass: loop.pass)
        let actions = supervision.receive(event, at: now)
        decided(actions)
        for action in actions { perform(action) }
        clock.wakeAt = supervision.nextDeadline
        crew.forgetLives(but: supervision.suspects + (awaitedLife.map { [$0] } ?? []))
        if let next = supervision.nextDeadline { timer.start(after: max(.zero, next - now)) } else { timer.stop() }
        reportIfComplete()
    }

    /// The life whose output the report waits for.
    private var awaitedLife: Life? { if case .pending(let ended) = report { ended.life } else { nil } }

    /// The time for begun lines has come. What came meanwhile, while this process or its machine was busy, is read
    /// first.
    private func readLately() {
        _ = loop.enqueue { [relay] in relay.run?.crew.tick() }
    }

    /// Ctrl-Z stops this process only, since workers are in groups of their own: they stop with it, and go on with it.
    private func stopWithWorkers() {
        crew.signalAll(.stop)
        clock.sleep {
            // Not SIGTSTP, which the kernel drops where no shell could make the process go on. It returns when SIGCONT
            // has come.
            raise(Signal.stop.rawValue)
        }
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
        case .died(let death): tell(death)
        case .blame(let life, let ending): report = .pending(EndedLife(life: life, ending: ending))
        case .closeOutput(let local): crew[local]?.closeOutput()
        case .announce(let signal, let reason): announce(signal, reason)
        case .abandon(let locals): output.say(LaunchReport.unended(locals.map(crew.name)))
        case .finish(let status): allEnded(status)
        }
    }

    private func start(_ local: Int) {
        let worker: WorkerProcess
        do throws(LaunchError) {
            worker = try crew.start(local) { [relay] worker, event in relay.run?.handle(worker, event) }
        } catch {
            if supervision.canDoWithout(rank: local) {
                output.say(error.description)
            } else {
                startError = startError ?? error
            }
            return handle(.startFailed(rank: local))
        }
        workerStarted(worker)
        handle(.started(rank: local, life: worker.life.number))
    }

    private func tell(_ death: Supervision.Death) {
        guard let worker = crew[death.life] else { return }
        let text = LaunchReport.death(
            death, name: worker.name, after: worker.endedAfter, maxRestarts: configuration.policy.maxRestarts)
        if let text { output.say(text) }
        worker.isDeathTold = true
    }

    private func announce(_ signal: Signal, _ reason: Supervision.Reason) {
        let text = LaunchReport.pressure(
            signal, reason, grace: configuration.policy.limits.graceAfterRequest, remaining: crew.running.map(\.name))
        if let text { output.say(text) }
    }

    /// Reports the culprit, once all that it wrote is here to be quoted.
    private func reportIfComplete() {
        guard case .pending(let ended) = report, let worker = crew[ended.life], !worker.outputIsOpen || status != nil
        else { return }
        let failure = WorkerFailure(
            rank: worker.rank, pid: worker.pid, ending: ended.ending, after: worker.endedAfter,
            lastLines: worker.lastLines, logPath: logs?.path(rank: worker.rank))
        report = .made(failure)
        if configuration.marksOutput { return output.say(failure.description) }
        // There is one program on the terminal, whose last lines are just above. With one worker there is nothing to
        // add to them, and a death has been told already.
        let isTold = if case .exited = ended.ending { crew.count == 1 } else { worker.isDeathTold }
        if !isTold { output.say(failure.summary) }
    }

    private func allEnded(_ status: Int32) {
        crew.buryAll()
        stage = .writing(status: status)
        reportIfComplete()
        coordinator?.close()
        journal?.end(status)
        output.whenWritten { [catchUp] in catchUp.signal() }
    }
}
