import EventLoop
import Membership

/// The coordinator beside the workers: what it sees goes to the supervision, to people, and into the job's record.
extension HostRun {
    func openCoordinator(_ happened: @escaping (MembershipEvent) -> Void) throws {
        guard let coordination = configuration.coordination, let secret = configuration.secret else { return }
        let coordinator = try Coordinator(
            loop: loop, host: "127.0.0.1", port: 0, secret: secret, configuration: coordination, happened: happened)
        self.coordinator = coordinator
        crew.master = ("127.0.0.1", coordinator.address.port)
        try journal?.begin(coordinator: "127.0.0.1:\(coordinator.address.port)", secret)
    }

    func workerStarted(_ worker: WorkerProcess) {
        journal?.change { $0.started(rank: worker.rank, pid: worker.pid, restarts: worker.life.number) }
    }

    /// - Parameter isObedient: it ended as it was told to.
    func workerEnded(_ worker: WorkerProcess, _ ending: ChildProcess.Ending, isObedient: Bool, willReturn: Bool) {
        let rank = worker.rank
        coordinator?.processEnded(rank: rank, willReturn: willReturn)
        let isRetired = ending.isSuccess && rank >= configuration.firstRank + crew.wanted
        let isInOrder = ending.isSuccess || isObedient
        journal?.change {
            $0.set(rank: rank, willReturn ? .restarting : isRetired ? .retired : isInOrder ? .ended : .lost)
        }
    }

    func receive(_ event: MembershipEvent) {
        switch event {
        case .formed(let generation, let ranks):
            formed(generation, ranks)
        case .lost(let rank, _):
            if let local = crew.local(rank) { handle(.disconnected(rank: local)) }
            journal?.change { $0.set(rank: rank, .lost) }
        case .fenced(let rank):
            if let local = crew.local(rank) { handle(.fenced(rank: local)) }
        case .joined(let rank, _, _, let isNewcomer):
            if isNewcomer { journal?.change { $0.set(rank: rank, .preparing) } }
        case .left(let rank):
            if let local = crew.local(rank) { handle(.left(rank: local)) }
        case .silence(let silence):
            output.say(LaunchReport.silence(silence))
        case .waitingForWorkers(let have, let need):
            output.say(LaunchReport.waiting(have: have, need: need, limit: configuration.coordination!.rejoinTimeout))
        case .scale(let workers):
            scale(to: workers)
        case .refusedStranger(let address, let cause):
            output.say("refused a connection from \(address): \(cause)")
        case .linkBroken(let rank, let other, let cause):
            output.say("rank \(rank) has no connection with rank \(other): \(cause)")
        case .failing(let rank):
            if let local = crew.local(rank) { handle(.failing(rank: local)) }
        case .gaveUp(let reason):
            let variable = WorkerEnvironment.Key.joinTimeout.rawValue
            output.say("\(reason); where workers take longer to come, --join-timeout or \(variable) says so")
            handle(.gaveUp)
        case .nobodyHere: break
        }
    }

    private func formed(_ generation: UInt32, _ ranks: [Int]) {
        handle(.formed(ranks: ranks.compactMap { crew.local($0) }))
        let isFirst = members.isEmpty
        let new = ranks.filter { !members.contains($0) }
        members = Set(ranks)
        journal?.change { $0.formed(generation: Int(generation), ranks: ranks) }
        guard !isFirst, !new.isEmpty else { return }
        let backAgain = new.allSatisfy { crew.local($0).map { crew.restarts($0) > 0 } ?? false }
        output.say(LaunchReport.arrival(of: new, backAgain: backAgain, generation: generation, workers: ranks.count))
    }

    private func scale(to workers: Int) {
        guard status == nil, workers != crew.wanted || members.count != workers else { return }
        output.say(LaunchReport.scale(from: crew.wanted, to: workers))
        // Where that cannot be, the ones that do not start say why.
        try? configuration.requireDescriptors(workerCount: workers)
        crew.wanted = workers
        handle(.scale(workers: workers))
    }
}
