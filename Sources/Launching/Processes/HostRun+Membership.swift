import EventLoop
import Glibc
import Membership

/// The coordinator beside the workers: what it sees goes to the supervision, to people, and into the job's record.
extension HostRun {
    func openCoordinator(_ relay: Relay) throws {
        guard let coordination = configuration.coordination, let secret = configuration.secret else { return }
        let coordinator = try Coordinator(
            loop: loop, host: "127.0.0.1", port: 0, secret: secret, configuration: coordination
        ) { event in relay.run?.take(event) }
        self.coordinator = coordinator
        crew.master = ("127.0.0.1", coordinator.address.port)
        guard let job else { return }
        record = JobRecord(coordinator: "127.0.0.1:\(coordinator.address.port)", pid: getpid(), host: currentHostName())
        if let code = job.write(secret) ?? job.write(record!) {
            throw LaunchError.jobDirectory(path: job.path, part: job.path, code: code)
        }
    }

    /// All workers have ended.
    func closeCoordinator(_ status: Int32) {
        coordinator?.close()
        record?.status = status
        recordTimer.stop()
        if let job, let code = job.end(record) { say(LaunchReport.recordNotWritten(job.path, code, isLast: true)) }
    }

    // MARK: What happens to workers

    func workerStarted(_ worker: Worker) {
        change { $0.started(rank: worker.rank, pid: worker.pid, restarts: worker.life.number) }
    }

    /// - Parameter isObedient: it ended as it was told to.
    func workerEnded(_ worker: Worker, _ ending: ChildProcess.Ending, isObedient: Bool, willReturn: Bool) {
        let rank = worker.rank
        coordinator?.processEnded(rank: rank, willReturn: willReturn)
        change { record in
            let isRetired = ending.isSuccess && rank >= configuration.firstRank + crew.wanted
            let isInOrder = ending.isSuccess || isObedient
            record.set(rank: rank, willReturn ? .restarting : isRetired ? .retired : isInOrder ? .ended : .lost)
        }
    }

    private func take(_ event: Coordinator.Event) {
        switch event {
        case .formed(let generation, let ranks):
            formed(generation, ranks)
        case .lost(let rank, _):
            if let local = crew.local(rank) { handle(.lost(rank: local)) }
            change { $0.set(rank: rank, .lost) }
        case .fenced(let rank):
            if let local = crew.local(rank) { handle(.fenced(rank: local)) }
        case .joined(let rank, _, _, let isNewcomer):
            if isNewcomer { change { $0.set(rank: rank, .preparing) } }
        case .left(let rank):
            if let local = crew.local(rank) { handle(.left(rank: local)) }
        case .silence(let silence):
            say(LaunchReport.silence(silence))
        case .waitingForWorkers(let have, let need):
            say(LaunchReport.waiting(have: have, need: need, limit: configuration.coordination!.rejoinTimeout))
        case .scale(let workers):
            scale(to: workers)
        case .refusedStranger(let address, let cause):
            say("refused a connection from \(address): \(cause)")
        case .linkBroken(let rank, let other, let cause):
            say("rank \(rank) has no connection with rank \(other): \(cause)")
        case .failing(let rank):
            if let local = crew.local(rank) { handle(.failing(rank: local)) }
        case .gaveUp(let reason):
            say("\(reason); where workers take longer to come, --join-timeout or LOCKSTEP_JOIN_TIMEOUT says so")
            handle(.gaveUp)
        case .nobodyHere: break
        }
    }

    private func formed(_ generation: UInt32, _ ranks: [Int]) {
        handle(.formed(ranks: ranks.compactMap { crew.local($0) }))
        let isFirst = members.isEmpty
        let new = ranks.filter { !members.contains($0) }
        members = Set(ranks)
        change { $0.formed(generation: Int(generation), ranks: ranks) }
        guard !isFirst, !new.isEmpty else { return }
        let backAgain = new.allSatisfy { crew.local($0).map { crew.restarts($0) > 0 } ?? false }
        say(LaunchReport.arrival(of: new, backAgain: backAgain, generation: generation, workers: ranks.count))
    }

    private func scale(to workers: Int) {
        guard status == nil, workers != crew.wanted || members.count != workers else { return }
        say(LaunchReport.scale(from: crew.wanted, to: workers))
        // Where that cannot be, the ones that do not start say why.
        try? configuration.requireDescriptors(workerCount: workers)
        crew.wanted = workers
        handle(.scale(workers: workers))
    }

    // MARK: The record

    /// Changes the record; the file follows when this pass of the loop is done, however much has changed in it.
    private func change(_ body: (inout JobRecord) -> Void) {
        guard var record else { return }
        body(&record)
        guard record != self.record else { return }
        self.record = record
        guard !recordIsStale else { return }
        recordIsStale = true
        _ = loop.enqueue { [relay] in relay.run?.writeRecord() }
    }

    /// Training goes on without it: what cannot be written is said once and tried again.
    func writeRecord() {
        guard status == nil, let record, let job else { return }
        recordIsStale = false
        guard let code = job.write(record) else {
            recordIsFailing = false
            return recordTimer.stop()
        }
        if !recordIsFailing { say(LaunchReport.recordNotWritten(job.path, code, isLast: false)) }
        recordIsFailing = true
        recordTimer.start(after: .seconds(1))
    }
}
