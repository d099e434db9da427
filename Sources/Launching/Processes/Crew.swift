import EventLoop

/// The worker processes of a host, one a rank. A new life of a rank replaces the one before, which is kept as long as
/// it may have to be reported. Confined to the loop.
final class Crew {
    private let configuration: LaunchConfiguration
    private let program: String
    private let guardian: Guardian
    private let logs: LogDirectory?
    private let output: HostOutput
    private let loop: Loop
    /// Runs while a worker has begun a line and not ended it.
    private let ticker: Timer
    private var lives: [Int] = []
    private var workers: [WorkerProcess?] = []
    /// Lives that a later life of the same rank has replaced.
    private var former: [Life: WorkerProcess] = [:]
    /// Where the coordinator listens, once it does.
    var master: (address: String, port: UInt16)?
    /// How many workers the job is to have now, as new ones are told.
    var wanted: Int

    /// Reading pauses when this many bytes wait to be written: from running workers, and from ended ones.
    static let highWaterBytes = 4 << 20
    private static let highWaterBytesAfterEnd = 64 << 20

    init(
        _ configuration: LaunchConfiguration, program: String, guardian: consuming Guardian, logs: LogDirectory?,
        output: HostOutput, loop: Loop, ticker: Timer
    ) {
        self.configuration = configuration
        self.program = program
        self.guardian = guardian
        self.logs = logs
        self.output = output
        self.loop = loop
        self.ticker = ticker
        wanted = configuration.workerCount
    }

    /// Ranks that have ever been started here.
    var count: Int { workers.count }

    /// The rank's current life, or its last; nil if none could be started.
    subscript(local: Int) -> WorkerProcess? { workers.indices.contains(local) ? workers[local] : nil }

    /// A life that is going on, or whose end may still matter (`forgetLives`).
    subscript(life: Life) -> WorkerProcess? { former[life] ?? self[life.rank].flatMap { $0.life == life ? $0 : nil } }

    /// Drops lives that are over, except these.
    func forgetLives(but wanted: [Life]) {
        if !former.isEmpty { former = former.filter { wanted.contains($0.key) } }
    }

    /// The job's rank of a worker of this host.
    func rank(_ local: Int) -> Int { configuration.firstRank + local }

    /// The worker of a rank of the job, if it is one of this host's.
    func local(_ rank: Int) -> Int? {
        let local = rank - configuration.firstRank
        return workers.indices.contains(local) ? local : nil
    }

    /// Times that a rank has been started after the first.
    func restarts(_ local: Int) -> Int { self[local]?.life.number ?? 0 }

    /// Starts a rank's first process, or its next one. Throws when the system cannot.
    func start(
        _ local: Int, happened: @escaping (WorkerProcess, WorkerProcess.Event) -> Void
    ) throws(LaunchError) -> WorkerProcess {
        while workers.count <= local {
            workers.append(nil)
            lives.append(0)
        }
        bury(workers[local])
        let rank = rank(local)
        let log = logDescriptor(rank)
        let specification = ChildProcess.Specification(
            program: program, arguments: configuration.arguments,
            environment: configuration.environment(
                localRank: local, workerCount: wanted, master: master, restartCount: lives[local]))
        let destinations = WorkerProcess.Destinations(
            output: output.output, errors: output.errors, log: log.map { output.log($0) })
        do throws(LoopError) {
            let life = Life(rank: local, number: lives[local])
            let worker = try WorkerProcess(
                loop: loop, rank: rank, life: life, prefix: prefix(rank), specification, destinations,
                happened: happened)
            guardian.watch(group: worker.pid)
            if let last = workers[local] { former[last.life] = last }
            workers[local] = worker
            lives[local] += 1
            return worker
        } catch {
            throw .workerNotStarted(rank: rank, program: program, code: error.code ?? .invalid)
        }
    }

    /// The logs of the first ranks are open; a rank that comes later is started even if it can have none.
    private func logDescriptor(_ rank: Int) -> Int32? {
        do throws(LaunchError) {
            return try logs?.descriptor(rank: rank)
        } catch {
            output.say("\(error); rank \(rank) goes on without a log")
            return nil
        }
    }

    /// A worker has ended: its group's number may be another group's soon, unless it has left something behind.
    func ended(_ worker: WorkerProcess) {
        if !worker.hasLeftovers { guardian.forget(group: worker.pid) }
    }

    /// To all workers' groups, and to what ended workers have left behind.
    func signalAll(_ signal: Signal) {
        for worker in workers { worker?.signal(signal) }
    }

    /// Ends what ended workers have left behind and is still there.
    func buryAll() {
        for worker in workers { bury(worker) }
    }

    private func bury(_ worker: WorkerProcess?) {
        guard let worker, worker.hasLeftovers else { return }
        worker.signal(.kill)
        guardian.forget(group: worker.pid)
    }

    /// A worker has written something.
    func wrote(_ worker: WorkerProcess) {
        if output.queuedBytes > Crew.highWaterBytes { setPace() }
        if worker.hasBegunLine, !ticker.isRunning { ticker.start(after: LinePasser.tick) }
    }

    /// Passes on begun lines that nothing follows.
    func tick() {
        for worker in workers { worker?.tick() }
        if workers.contains(where: { $0?.hasBegunLine == true }) { ticker.start(after: LinePasser.tick) }
    }

    /// Makes workers wait while the reader of their output does.
    func setPace() {
        let queued = output.queuedBytes
        for case let worker? in workers where worker.outputIsOpen {
            let limit = worker.ending == nil ? Crew.highWaterBytes : Crew.highWaterBytesAfterEnd
            if queued > limit { worker.pause() } else { worker.resume() }
        }
    }

    /// `rank 2 (pid 1234)`.
    func name(_ local: Int) -> String { self[local]?.name ?? "rank \(rank(local))" }

    /// Those that have not ended.
    var running: [WorkerProcess] { workers.compactMap { $0 }.filter { $0.ending == nil } }

    private func prefix(_ rank: Int) -> String {
        guard configuration.marksOutput else { return "" }
        let width = "\(configuration.firstRank + max(wanted, configuration.workerCount) - 1)".utf8.count
        let digits = "\(rank)"
        return "[" + String(repeating: " ", count: max(0, width - digits.utf8.count)) + digits + "] "
    }
}
