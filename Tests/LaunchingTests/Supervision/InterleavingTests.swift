import EventLoop
import Launching
import Testing

/// How a simulated worker behaves.
private enum Character: CaseIterable {
    /// Ends well by itself.
    case good
    /// Ends with status 3 by itself.
    case failing
    /// Crashes by itself.
    case crashing
    /// Never ends by itself; dies of any signal.
    case endless
    /// Never ends by itself; dies of SIGKILL only.
    case stubborn
    /// Not even of that.
    case immortal
}

/// What may happen next.
private enum Step: Hashable {
    case exit(Int)
    case outputEnd(Int)
    case interrupt
    case tick
}

/// Runs a script of steps, checks every action on the way, and returns the steps that may follow; none when it is over.
private func follow(_ script: [Step], _ characters: [Character], interrupts: Int) -> [Step] {
    var supervision = Supervision(workerCount: characters.count)
    var now = Duration.zero
    var signals: [Set<Signal>] = characters.map { _ in [] }
    var endings: [ChildProcess.Ending?] = characters.map { _ in nil }
    var outputIsOpen = characters.map { _ in true }
    var firstFailure: Int?
    var blamed: Int?
    var abandoned: Set<Int> = []
    var finished: Int32?
    var interruptsLeft = interrupts

    func take(_ actions: [Supervision.Action]) {
        for action in actions {
            #expect(finished == nil, "an action after the end")
            switch action {
            case .signal(let rank, let signal):
                #expect(endings[rank] == nil || outputIsOpen[rank], "a signal to a worker that is over")
                signals[rank].insert(signal)
            case .blame(let life, let ending):
                #expect(blamed == nil && endings[life.rank] == ending && life.number == 0)
                blamed = life.rank
            case .closeOutput(let rank): outputIsOpen[rank] = false
            case .abandon(let ranks): abandoned.formUnion(ranks)
            case .announce: break
            case .start, .died: Issue.record("a worker is missed, without a ring")
            case .finish(let status): finished = status
            }
        }
    }
    func ending(_ rank: Int) -> ChildProcess.Ending? {
        let strongest: Signal? = [.kill, .terminate, .interrupt].first { signals[rank].contains($0) }
        switch characters[rank] {
        case .good: return .exited(status: 0)
        case .failing: return .exited(status: 3)
        case .crashing: return .killed(by: .abort)
        case .endless: return strongest.map { .killed(by: $0) }
        case .stubborn: return strongest == .kill ? .killed(by: .kill) : nil
        case .immortal: return nil
        }
    }

    for rank in characters.indices { take(supervision.receive(.started(rank: rank), at: now)) }
    for step in script {
        now += .milliseconds(1)
        switch step {
        case .exit(let rank):
            guard let ending = ending(rank) else { break }
            endings[rank] = ending
            if !ending.isSuccess, firstFailure == nil, ending.status != 130 { firstFailure = rank }
            take(supervision.receive(.exited(rank: rank, ending), at: now))
        case .outputEnd(let rank):
            outputIsOpen[rank] = false
            take(supervision.receive(.outputEnded(rank: rank), at: now))
        case .interrupt:
            interruptsLeft -= 1
            take(supervision.receive(.interrupt, at: now))
        case .tick:
            now = max(now, supervision.nextDeadline ?? now)
            take(supervision.receive(.tick, at: now))
        }
    }

    if let finished {
        let isComplete = characters.indices.allSatisfy { endings[$0] != nil && !outputIsOpen[$0] || abandoned.contains($0) }
        #expect(isComplete, "it ended while a worker was still there")
        #expect(abandoned.allSatisfy { characters[$0] == .immortal || characters[$0] == .stubborn || signals[$0].contains(.kill) })
        if let blamed { #expect(finished == endings[blamed]?.status) }
        // Nobody was told to end before the first failure, unless by a signal, so the first in time is the culprit.
        if let firstFailure, interrupts == interruptsLeft { #expect(blamed == firstFailure) }
        if endings.allSatisfy({ $0?.isSuccess == true }) { #expect(finished == 0 && blamed == nil) }
        return []
    }

    var next: [Step] = []
    for rank in characters.indices {
        if endings[rank] == nil && !abandoned.contains(rank) && ending(rank) != nil { next.append(.exit(rank)) }
        if endings[rank] != nil && outputIsOpen[rank] { next.append(.outputEnd(rank)) }
    }
    if interruptsLeft > 0 { next.append(.interrupt) }
    if supervision.nextDeadline != nil { next.append(.tick) }
    if next.isEmpty {
        // Only a run in which nothing is wrong may wait for its workers, or one that was asked just once to end at leisure.
        #expect(firstFailure == nil && interrupts - interruptsLeft <= 1, "stuck after \(script)")
    }
    return next
}

/// Tries every order, depth first; returns how many ways there were to the end.
private func explore(_ characters: [Character], interrupts: Int) -> Int {
    var open: [[Step]] = [[]]
    var ends = 0
    while let script = open.popLast() {
        // Ticks come to an end, and so does everything else.
        if script.count > 40 {
            Issue.record("no end after \(script)")
            continue
        }
        let next = follow(script, characters, interrupts: interrupts)
        if next.isEmpty { ends += 1 }
        for step in next { open.append(script + [step]) }
    }
    return ends
}

@Test(arguments: Character.allCases, Character.allCases)
private func everyOrderOfTwoWorkersEndsWell(first: Character, second: Character) {
    #expect(explore([first, second], interrupts: 0) > 0)
}

@Test(arguments: [[Character.good, .failing], [.endless, .stubborn], [.failing, .endless]], [1, 3])
private func everyOrderOfTwoWorkersAndInterruptsEndsWell(characters: [Character], interrupts: Int) {
    #expect(explore(characters, interrupts: interrupts) > 0)
}

@Test(arguments: [[Character.failing, .crashing, .endless], [.good, .failing, .endless]])
private func everyOrderOfThreeWorkersEndsWell(characters: [Character]) {
    #expect(explore(characters, interrupts: 0) > 0)
}
