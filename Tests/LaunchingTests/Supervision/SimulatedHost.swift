import EventLoop
import Launching
import Membership
import TestSupport

/// A host with simulated processes, a simulated coordinator and virtual time, driven by a `Supervision` and a seed.
///
/// Checks what must always hold, and notes what went wrong in `faults`.
struct SimulatedHost: ~Copyable {
    private enum Occurrence {
        case join(Int, life: Int)
        case form
        case die(Int, life: Int, ChildProcess.Ending)
        /// It dies of a signal that it was sent.
        case obey(Int, life: Int, Signal)
        case closeOutput(Int, life: Int)
        case fence(Int, life: Int)
        case stopTogether
        case finishTogether
        case killFromOutside
        case freeze
        case cut
        case fail
        case interrupt
        case terminate(Signal)
        case scale(Int)
    }

    private struct Process {
        var life = 0
        var isRunning = false
        var outputIsOpen = false
        var isFrozen = false
        var hasJoined = false
        var isMember = false
        var requests = 0
        var holdsOutputOutside = false
    }

    private var generator: SeededGenerator
    private var supervision: Supervision
    private var queue: [(at: Duration, order: Int, what: Occurrence)] = []
    private var order = 0
    private var now = Duration.zero
    private var processes: [Process]
    private var wanted: Int
    private let maxRestarts: Int
    private var hasRing = false

    private(set) var faults: [String] = []
    private(set) var status: Int32?
    private(set) var starts = 0
    private(set) var hasFailed = false
    private(set) var wasAskedToEnd = false
    private(set) var blamed: ChildProcess.Ending?
    /// How each life ended, and which of them by a signal that it was sent without having been shut out.
    private var endings: [Life: ChildProcess.Ending] = [:]
    private var obedient: Set<Life> = []
    private var fenced: Set<Life> = []
    private(set) var hasCompleted = false
    private var startsOfScaling = 0
    /// What happened, for reading a seed that fails.
    private(set) var trace: [String] = []
    private let traces: Bool

    init(seed: UInt64, traces: Bool = false) {
        self.traces = traces
        var generator = SeededGenerator(seed: seed)
        let workers = Int.random(in: 1...5, using: &generator)
        maxRestarts = [0, 1, 3, 50].randomElement(using: &generator)!
        var policy = Supervision.Policy()
        policy.maxRestarts = maxRestarts
        policy.survivesDeaths = Int.random(in: 0..<8, using: &generator) > 0
        supervision = Supervision(workerCount: workers, policy: policy)
        processes = Array(repeating: Process(), count: workers)
        wanted = workers
        self.generator = generator
        let length = chance(.seconds(20))
        schedule(.finishTogether, after: length)
        for _ in 0..<Int.random(in: 0...6, using: &self.generator) {
            let roll = Int.random(in: 0..<20, using: &self.generator)
            let what: Occurrence =
                switch roll {
                case 0..<9: .killFromOutside
                case 9..<11: .freeze
                case 11..<13: .cut
                case 13: .fail
                case 14..<16: .interrupt
                case 16: .terminate([.terminate, .user1].randomElement(using: &self.generator)!)
                default: .scale(Int.random(in: 1...6, using: &self.generator))
                }
            schedule(what, after: chance(length))
        }
    }

    /// Runs to the end, or for at most so many events.
    mutating func run() {
        for rank in processes.indices { start(rank) }
        for _ in 0..<20_000 where status == nil {
            let next = queue.min { ($0.at, $0.order) < ($1.at, $1.order) }
            let deadline = supervision.nextDeadline
            if let deadline, deadline <= next?.at ?? deadline {
                now = max(now, deadline)
                tell(.tick)
            } else if let next {
                queue.removeAll { $0.order == next.order }
                now = max(now, next.at)
                happen(next.what)
            } else {
                break
            }
        }
        if status == nil { faults.append("it never ended") }
        if processes.contains(where: { $0.isRunning }) { faults.append("a process is left") }
        if starts > maxRestarts + startsOfScaling { faults.append("\(starts) starts again, of \(maxRestarts)") }
    }

    // MARK: Time and chance

    private mutating func chance(_ most: Duration) -> Duration {
        .milliseconds(Int.random(in: 0...Int(most / .milliseconds(1)), using: &generator))
    }

    private mutating func schedule(_ what: Occurrence, after delay: Duration) {
        order += 1
        queue.append((now + delay, order, what))
    }

    private mutating func anyRunning() -> Int? {
        processes.indices.filter { processes[$0].isRunning }.randomElement(using: &generator)
    }

    // MARK: What happens

    private mutating func happen(_ what: Occurrence) {
        switch what {
        case .join(let rank, let life):
            guard isAlive(rank, life) else { break }
            processes[rank].hasJoined = true
            formSoon()
        case .form: form()
        case .die(let rank, let life, let ending):
            if isAlive(rank, life) { die(rank, ending) }
        case .obey(let rank, let life, let signal):
            guard isAlive(rank, life) else { break }
            if !fenced.contains(self.life(rank)) { obedient.insert(self.life(rank)) }
            die(rank, .killed(by: signal))
        case .closeOutput(let rank, let life):
            guard processes[rank].life == life, processes[rank].outputIsOpen else { break }
            processes[rank].outputIsOpen = false
            tell(.outputEnded(rank: rank))
        case .fence(let rank, let life):
            guard isAlive(rank, life), processes[rank].isFrozen else { break }
            processes[rank].isMember = false
            tell(.disconnected(rank: rank))
            fenced.insert(self.life(rank))
            tell(.fenced(rank: rank))
            formSoon()
        case .stopTogether: endTogether(.exited(status: WorkerStatus.stopped))
        case .finishTogether:
            guard hasRing else { return schedule(.finishTogether, after: .seconds(5)) }
            endTogether(.exited(status: 0))
        case .killFromOutside:
            if let rank = anyRunning() { die(rank, .killed(by: .kill)) }
        case .freeze:
            guard let rank = anyRunning() else { break }
            processes[rank].isFrozen = true
            // One that is in nobody's ring yet may be forgotten; the test's end then fetches it.
            schedule(.fence(rank, life: processes[rank].life), after: .seconds(5))
            schedule(.die(rank, life: processes[rank].life, .killed(by: .kill)), after: .seconds(100))
        case .cut:
            guard let rank = anyRunning(), processes[rank].isMember, !processes[rank].isFrozen else { break }
            tell(.disconnected(rank: rank))
            processes[rank].isMember = false
            schedule(.die(rank, life: processes[rank].life, .exited(status: WorkerStatus.peerLost)), after: chance(.milliseconds(100)))
            formSoon()
        case .fail:
            guard let rank = anyRunning() else { break }
            if processes[rank].isMember { hasFailed = true }
            die(rank, .exited(status: 3))
        case .interrupt:
            wasAskedToEnd = true
            tell(.interrupt)
        case .terminate(let signal):
            wasAskedToEnd = true
            tell(.terminate(by: signal))
        case .scale(let workers):
            guard hasRing, status == nil else { break }
            while processes.count < workers { processes.append(Process()) }
            wanted = workers
            startsOfScaling += workers
            for rank in processes.indices where rank >= workers && processes[rank].isMember && !processes[rank].isFrozen {
                schedule(.die(rank, life: processes[rank].life, .exited(status: 0)), after: chance(.seconds(1)))
            }
            tell(.scale(workers: workers))
        }
    }

    private func isAlive(_ rank: Int, _ life: Int) -> Bool { processes[rank].life == life && processes[rank].isRunning }

    private func life(_ rank: Int) -> Life { Life(rank: rank, number: processes[rank].life - 1) }

    private mutating func die(_ rank: Int, _ ending: ChildProcess.Ending) {
        let life = processes[rank].life
        endings[self.life(rank)] = ending
        let wasMember = processes[rank].isMember
        processes[rank].isRunning = false
        processes[rank].isMember = false
        tell(.exited(rank: rank, ending))
        // Often at the same time, sometimes held by something that it has started, inside or outside its group.
        let roll = Int.random(in: 0..<10, using: &generator)
        if processes[rank].life == life, processes[rank].outputIsOpen {
            if roll == 9 {
                processes[rank].holdsOutputOutside = true
            } else {
                schedule(.closeOutput(rank, life: life), after: roll < 7 ? .zero : .seconds(2))
            }
        }
        if wasMember { formSoon() }
    }

    private mutating func formSoon() { schedule(.form, after: chance(.milliseconds(300))) }

    private mutating func form() {
        guard status == nil else { return }
        if !hasRing {
            guard (0..<processes.count).allSatisfy({ processes[$0].isRunning && processes[$0].hasJoined && !processes[$0].isFrozen }) else { return }
        } else {
            guard processes.contains(where: { $0.isRunning && $0.isMember && !$0.isFrozen }) else { return }
        }
        hasRing = true
        let ranks = processes.indices.filter { processes[$0].isRunning && processes[$0].hasJoined && !processes[$0].isFrozen }
        for rank in processes.indices { processes[rank].isMember = ranks.contains(rank) }
        tell(.formed(ranks: ranks))
    }

    private mutating func endTogether(_ ending: ChildProcess.Ending) {
        let ranks = processes.indices.filter { processes[$0].isRunning && !processes[$0].isFrozen && processes[$0].hasJoined }.shuffled(using: &generator)
        if !ranks.isEmpty { hasCompleted = true }
        for rank in ranks {
            schedule(.die(rank, life: processes[rank].life, ending), after: chance(.milliseconds(20)))
        }
        // Who comes later finds that all is over; who is frozen is fenced.
        for rank in processes.indices where processes[rank].isRunning && !ranks.contains(rank) {
            schedule(.die(rank, life: processes[rank].life, .exited(status: WorkerStatus.peerLost)), after: .seconds(3))
        }
    }

    // MARK: What is done about it

    private mutating func tell(_ event: Supervision.Event) {
        let actions = supervision.receive(event, at: now)
        if traces { trace.append("\(now): \(event) -> \(actions)") }
        for action in actions { perform(action) }
    }

    private mutating func start(_ rank: Int) {
        if processes[rank].isRunning || processes[rank].outputIsOpen { faults.append("rank \(rank) was started before it was over") }
        processes[rank] = Process(life: processes[rank].life + 1, isRunning: true, outputIsOpen: true)
        let life = processes[rank].life
        if Int.random(in: 0..<40, using: &generator) == 0, life > 1 {
            processes[rank].isRunning = false
            processes[rank].outputIsOpen = false
            return tell(.startFailed(rank: rank))
        }
        tell(.started(rank: rank, life: life - 1))
        schedule(.join(rank, life: life), after: chance(.milliseconds(300)))
        // Should it come too late to be let in, it is told so.
        if hasCompleted { schedule(.die(rank, life: life, .exited(status: WorkerStatus.peerLost)), after: .seconds(3)) }
    }

    private mutating func perform(_ action: Supervision.Action) {
        if status != nil { faults.append("\(action) after the end") }
        switch action {
        case .start(let rank):
            starts += 1
            start(rank)
        case .signal(let rank, let signal):
            if !processes[rank].isRunning && !processes[rank].outputIsOpen { faults.append("\(signal) to rank \(rank), which is over") }
            take(signal, rank)
        case .closeOutput(let rank):
            processes[rank].outputIsOpen = false
        case .blame(let life, let ending):
            if blamed != nil { faults.append("two are blamed") }
            if endings[life] != ending { faults.append("\(life) is blamed, and ended \(endings[life].map { "\($0)" } ?? "not at all")") }
            if obedient.contains(life) { faults.append("\(life) is blamed, and \(ending) by us") }
            blamed = ending
        case .finish(let status):
            self.status = status
        case .abandon: faults.append("abandoned")
        case .died(let death):
            if endings[death.life] != death.ending { faults.append("\(death.life) is dead, and did not end so") }
        case .announce: break
        }
    }

    private mutating func take(_ signal: Signal, _ rank: Int) {
        let life = processes[rank].life
        if !processes[rank].isRunning {
            if !processes[rank].holdsOutputOutside { schedule(.closeOutput(rank, life: life), after: .milliseconds(1)) }
        } else if signal == .kill {
            schedule(.obey(rank, life: life, .kill), after: .milliseconds(1))
        } else if !processes[rank].isFrozen {
            processes[rank].requests += 1
            if processes[rank].requests > 1 || !processes[rank].isMember {
                schedule(.obey(rank, life: life, signal), after: .milliseconds(1))
            } else {
                schedule(.stopTogether, after: chance(.seconds(1)))
            }
        }
    }
}
