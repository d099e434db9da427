import Collectives
import Membership
import TestSupport
import Wire

/// A whole job in virtual time: a coordinator, a launcher, workers and their connections, and what befalls them, all from one seed.
///
/// Real are `Roster`, `MemberProtocol`, `News`, `Recovery` and `RingProtocol`; virtual are time, processes and connections. A connection
/// keeps the order of its messages, as TCP does; different ones run at different speeds. It can be cut, and stand still for ever;
/// processes can be killed, and frozen for a while.
final class Simulation {
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    /// What this job is like, and what befalls it.
    struct Plan {
        var workers: Int
        var sections: Int
        var elements: Int
        var hasLauncher: Bool
        var restarts: Int
        var minWorkers: Int
        /// A rank to which nothing happens: while it lives, nothing may be lost.
        var immortal: Int?
        var faults: [(time: Duration, fault: Fault)]
    }

    enum Fault {
        case kill(rank: Int)
        case freeze(rank: Int, for: Duration)
        case cutRing(rank: Int)
        case stallRing(rank: Int)
        case cutControl(rank: Int)
        case scale(to: Int)
    }

    let seed: UInt64
    let plan: Plan
    var clock = VirtualClock()
    var generator: SeededGenerator
    private(set) var workers: [SimulatedWorker] = []
    private var roster: Roster
    private var links: [Int: ControlLink] = [:]
    private var nextLink = 0
    private var tickAt: Duration?
    private var restartsLeft: Int
    private var pendingStarts = 0
    /// What each section gave, on whichever member it ended first.
    private var values: [Int: [Int64]] = [:]
    /// The members of each generation, as each of them heard.
    private var rings: [UInt32: [UInt32]] = [:]
    private(set) var log: [String] = []
    let keepsLog: Bool

    static let peerTimeout = Duration.seconds(5)
    static let timeout = Duration.seconds(20)
    static let formationLimit = Duration.seconds(10)
    static let waitLimit = Duration.seconds(120)
    /// Nothing that can happen takes longer.
    static let deadline = Duration.seconds(900)
    static let mostEvents = 1_000_000

    /// Between a worker and the coordinator.
    final class ControlLink {
        let number: Int
        unowned let worker: SimulatedWorker
        var isOpenThere = true
        var toCoordinator = Duration.zero
        var toWorker = Duration.zero

        init(number: Int, worker: SimulatedWorker) {
            self.number = number
            self.worker = worker
        }
    }

    init(seed: UInt64, keepsLog: Bool = false) {
        self.seed = seed
        self.keepsLog = keepsLog
        var generator = SeededGenerator(seed: seed)
        plan = Plan.drawn(&generator)
        self.generator = generator
        restartsLeft = plan.restarts
        var configuration = Coordinator.Configuration(worldSize: plan.workers)
        configuration.peerTimeout = Simulation.peerTimeout
        configuration.timeout = Simulation.timeout
        configuration.minWorkers = plan.minWorkers
        configuration.rejoinTimeout = .seconds(30)
        roster = Roster(configuration)
    }

    /// Runs the job to its end; throws what was not as it must be.
    func run() throws {
        note("\(plan)")
        for rank in 0..<plan.workers { start(rank: rank, after: chance(of: .milliseconds(5))) }
        for (time, fault) in plan.faults { clock.at(time) { [unowned self] in try befall(fault) } }
        scheduleTick()
        var events = 0
        while let action = clock.next() {
            try action()
            events += 1
            if events > Simulation.mostEvents { throw Failure(description: "goes on for ever, at \(clock.now): \(workers.map(\.description))") }
            if pendingStarts == 0, workers.allSatisfy(\.hasEnded) { break }
            if clock.now > Simulation.deadline {
                throw Failure(description: "hangs: \(workers.filter { !$0.hasEnded }.map(\.description).joined(separator: "; "))")
            }
        }
        try judgeEnd()
    }

    private func judgeEnd() throws {
        let endings = workers.map(\.ending)
        // A first world that never was complete had nothing to lose.
        let immortal = roster.generation > 0 ? plan.immortal : nil
        if immortal != nil, !endings.contains(.finished), !endings.contains(.stopped) {
            throw Failure(description: "nobody came to the end: \(workers.map(\.description))")
        }
        for worker in workers {
            if worker.wasFenced, worker.ending != .killed, worker.ending != .excluded {
                throw Failure(description: "fenced, and yet: \(worker)")
            }
            if let immortal, worker.rank == immortal, worker.ending != .finished, worker.ending != .stopped {
                throw Failure(description: "nothing happened to it, and yet: \(worker)")
            }
        }
        if endings.contains(.finished), values.keys.filter({ $0 < plan.sections }).count != plan.sections {
            throw Failure(description: "sections \(values.keys.sorted()) of \(plan.sections)")
        }
    }

    // MARK: What workers tell

    func note(_ text: @autoclosure () -> String) {
        if keepsLog { log.append("\(clock.now)  \(text())") }
    }

    func sectionEnded(_ section: Int, _ given: [Int64], by worker: SimulatedWorker) throws {
        if let known = values[section], known != given {
            throw Failure(description: "section \(section) gave \(given) to \(worker), and \(known) before")
        }
        values[section] = given
    }

    func heard(of ring: RingAnnouncement, _ worker: SimulatedWorker) throws {
        let ranks = ring.members.map(\.rank)
        if let known = rings[ring.generation], known != ranks {
            throw Failure(description: "two rings of generation \(ring.generation): \(known) and \(ranks)")
        }
        rings[ring.generation] = ranks
    }

    /// The process that takes connections on a port; nil if it does no longer.
    func process(rank: Int, port: UInt16) -> SimulatedWorker? {
        workers.last { $0.rank == rank && $0.port == port && !$0.hasEnded }
    }

    // MARK: Chance

    func chance(of most: Duration) -> Duration {
        most * Double.random(in: 0...1, using: &generator)
    }

    /// How long a message is under way: mostly little, now and then much.
    func latency() -> Duration {
        Int.random(in: 0..<24, using: &generator) == 0 ? chance(of: .milliseconds(40)) : .microseconds(50) + chance(of: .microseconds(400))
    }

    /// The arrival of what is sent now on a connection whose last arrival was `last`.
    func arrival(after last: inout Duration) -> Duration {
        last = max(last + .microseconds(1), clock.now + latency())
        return last
    }

    // MARK: Control connections

    func connect(_ worker: SimulatedWorker) -> ControlLink {
        nextLink += 1
        let link = ControlLink(number: nextLink, worker: worker)
        links[link.number] = link
        return link
    }

    func send(_ message: ControlMessage, over link: ControlLink) {
        clock.at(arrival(after: &link.toCoordinator)) { [unowned self] in
            guard link.isOpenThere else { return }
            receive(.said(message, link.number, provenRank: UInt32(link.worker.rank)))
        }
    }

    /// The worker's side is closed, by its will or its death.
    func closed(_ link: ControlLink) {
        clock.at(arrival(after: &link.toCoordinator)) { [unowned self] in
            guard link.isOpenThere else { return }
            link.isOpenThere = false
            receive(.closed(link.number, cause: "closed"))
        }
    }

    private func receive(_ event: Roster.Event) {
        for action in roster.receive(event, at: clock.now) {
            switch action {
            case .send(let message, let number):
                guard let link = links[number], link.isOpenThere else { continue }
                clock.at(arrival(after: &link.toWorker)) { [unowned self] in
                    try link.worker.deliver { [unowned self] in
                        note("\(link.worker.name) hears \(message)")
                        try link.worker.receive(message, over: link)
                    }
                }
            case .close(let number):
                guard let link = links[number], link.isOpenThere else { continue }
                link.isOpenThere = false
                clock.at(arrival(after: &link.toWorker)) {
                    try link.worker.deliver { try link.worker.controlEnded(link) }
                }
            case .tell(let event):
                note("coordinator: \(event)")
                act(on: event)
            }
        }
        scheduleTick()
    }

    private func scheduleTick() {
        let deadline = roster.nextDeadline
        if let tickAt, tickAt <= deadline { return }
        tickAt = deadline
        clock.at(deadline) { [unowned self] in
            guard tickAt == deadline else { return }
            tickAt = nil
            if clock.now >= roster.nextDeadline { receive(.tick) } else { scheduleTick() }
        }
    }

    // MARK: The launcher

    private func start(rank: Int, after delay: Duration) {
        pendingStarts += 1
        clock.at(clock.now + delay) { [unowned self] in
            pendingStarts -= 1
            let worker = SimulatedWorker(rank: rank, number: workers.count, simulation: self)
            workers.append(worker)
            note("\(worker.name) starts")
            try worker.start()
        }
    }

    private func living(_ rank: Int) -> SimulatedWorker? {
        workers.last { $0.rank == rank && !$0.hasEnded }
    }

    private func act(on event: MembershipEvent) {
        switch event {
        case .fenced(let rank):
            guard let worker = living(rank) else { return }
            worker.wasFenced = true
            // A launcher kills it; but it may wake first, and without a launcher it does so some day.
            guard plan.hasLauncher else { return }
            clock.at(clock.now + chance(of: .seconds(4))) { [unowned self] in
                if !worker.hasEnded { try end(worker) }
            }
        case .scale(let workers) where plan.hasLauncher:
            for rank in 0..<workers where living(rank) == nil { start(rank: rank, after: chance(of: .milliseconds(20))) }
        default: break
        }
    }

    /// A process is killed; the launcher notices, and may start another.
    private func end(_ worker: SimulatedWorker) throws {
        note("\(worker.name) is killed")
        worker.die()
        guard plan.hasLauncher else { return }
        let willReturn = restartsLeft > 0
        if willReturn { restartsLeft -= 1 }
        pendingStarts += willReturn ? 1 : 0
        clock.at(clock.now + chance(of: .milliseconds(3))) { [unowned self] in
            pendingStarts -= willReturn ? 1 : 0
            receive(.processEnded(rank: UInt32(worker.rank), willReturn: willReturn))
            if willReturn { start(rank: worker.rank, after: chance(of: .milliseconds(60))) }
        }
    }

    // MARK: Faults

    private func befall(_ fault: Fault) throws {
        note("\(fault)")
        switch fault {
        case .kill(let rank):
            if let worker = living(rank) { try end(worker) }
        case .freeze(let rank, let time):
            guard let worker = living(rank), !worker.isFrozen else { return }
            worker.isFrozen = true
            clock.at(clock.now + time) { [unowned self] in
                note("\(worker.name) wakes")
                try worker.wake()
            }
        case .cutRing(let rank): living(rank)?.cutRing()
        case .stallRing(let rank): living(rank)?.stallRing()
        case .cutControl(let rank):
            guard let worker = living(rank) else { return }
            worker.cutControl()
        case .scale(let workers):
            if roster.scaleRefusal(workers) == nil { receive(.scale(workers: workers)) }
        }
    }
}

extension Simulation.Plan {
    static func drawn(_ generator: inout SeededGenerator) -> Simulation.Plan {
        func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }
        let workers = number(1...5)
        let hasLauncher = number(0...9) < 7
        let immortal = number(0...9) < 8 ? number(0...(workers - 1)) : nil
        func mortal(_ most: Int) -> Int? {
            let rank = number(0...most)
            return rank == immortal ? nil : rank
        }
        var faults: [(time: Duration, fault: Simulation.Fault)] = []
        /// Most come early, where sections are; many at once.
        var time = Duration.microseconds(number(0...60_000))
        for _ in 0..<number(0...6) {
            switch number(0...19) {
            case 0...8: if let rank = mortal(workers) { faults.append((time, .kill(rank: rank))) }
            case 9...12:
                if let rank = mortal(workers) {
                    let seconds = number(0...2) == 0 ? Duration.milliseconds(number(1...4000)) : .milliseconds(number(4000...30_000))
                    faults.append((time, .freeze(rank: rank, for: seconds)))
                }
            case 13...15: faults.append((time, .cutRing(rank: number(0...workers))))
            case 16:
                if !faults.contains(where: { if case .stallRing = $0.fault { true } else { false } }) {
                    faults.append((time, .stallRing(rank: number(0...workers))))
                }
            case 17: if let rank = mortal(workers) { faults.append((time, .cutControl(rank: rank))) }
            default: faults.append((time, .scale(to: max(number(1...6), (immortal ?? 0) + 1))))
            }
            time += number(0...1) == 0 ? .microseconds(number(0...800)) : .microseconds(number(0...60_000))
        }
        return Simulation.Plan(
            workers: workers, sections: number(1...8), elements: number(1...40), hasLauncher: hasLauncher,
            restarts: number(0...4), minWorkers: number(0...5) == 0 ? number(1...workers) : 1, immortal: immortal, faults: faults)
    }
}
