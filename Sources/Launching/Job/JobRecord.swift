import Checkpoints

/// A job as `job.json` shows it to people and to `lockstep scale`.
package struct JobRecord: Equatable, Sendable {
    /// How far a worker is.
    package enum WorkerState: String, Sendable {
        /// Its process has been started and has not joined yet.
        case starting
        /// It has come while the job runs, and waits to be let in.
        case preparing
        case running
        /// It is dead, or shut out, and not started again.
        case lost
        /// It is dead and about to be started again.
        case restarting
        /// It has gone because fewer workers were wanted.
        case retired
        case ended
    }

    package struct Worker: Equatable, Sendable {
        package var rank: Int
        package var pid: Int32
        package var host: String
        package var state: WorkerState
        package var restarts: Int
    }

    /// Where the coordinator listens.
    package var coordinator: String
    /// The launcher, and its host.
    package var pid: Int32
    package var host: String
    package var generation = 0
    package var workers: [Worker] = []
    /// What the launcher ended with; nil while it runs.
    package var status: Int32?

    package init(coordinator: String, pid: Int32, host: String) {
        self.coordinator = coordinator
        self.pid = pid
        self.host = host
    }

    /// A process of a rank has been started.
    mutating func started(rank: Int, pid: Int32, restarts: Int) {
        let worker = Worker(rank: rank, pid: pid, host: host, state: .starting, restarts: restarts)
        if let index = index(rank) { workers[index] = worker } else { workers.append(worker) }
        workers.sort { $0.rank < $1.rank }
    }

    mutating func set(rank: Int, _ state: WorkerState) {
        if let index = index(rank) { workers[index].state = state }
    }

    /// A ring has been formed of these ranks.
    mutating func formed(generation: Int, ranks: [Int]) {
        self.generation = generation
        for rank in ranks { set(rank: rank, .running) }
    }

    private func index(_ rank: Int) -> Int? { workers.firstIndex { $0.rank == rank } }
}

extension JobRecord {
    package var json: JSONValue {
        var object: [String: JSONValue] = [
            "state": .string(status == nil ? "running" : "ended"),
            "coordinator": .string(coordinator),
            "launcher": .object(["pid": .integer(Int(pid)), "host": .string(host)]),
            "generation": .integer(generation),
            "workers": .array(
                workers.map {
                    .object([
                        "rank": .integer($0.rank), "pid": .integer(Int($0.pid)), "host": .string($0.host),
                        "state": .string($0.state.rawValue), "restarts": .integer($0.restarts),
                    ])
                }),
        ]
        if let status { object["status"] = .integer(Int(status)) }
        return .object(object)
    }

    /// nil for what is no job's record.
    package init?(json: JSONValue) {
        guard let coordinator = json["coordinator"]?.string, let launcher = json["launcher"], let host = launcher["host"]?.string,
            let pid = launcher["pid"]?.integer.flatMap({ Int32(exactly: $0) }), let generation = json["generation"]?.integer,
            let workers = json["workers"]?.array
        else { return nil }
        self.init(coordinator: coordinator, pid: pid, host: host)
        self.generation = generation
        status = json["status"]?.integer.map { Int32(truncatingIfNeeded: $0) }
        for worker in workers {
            guard let rank = worker["rank"]?.integer, let pid = worker["pid"]?.integer.flatMap({ Int32(exactly: $0) }),
                let host = worker["host"]?.string, let state = worker["state"]?.string.flatMap(WorkerState.init(rawValue:)),
                let restarts = worker["restarts"]?.integer
            else { return nil }
            self.workers.append(Worker(rank: rank, pid: pid, host: host, state: state, restarts: restarts))
        }
    }
}
