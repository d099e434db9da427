import EventLoop
import Wire

/// What time brings: signs of life, deadlines, and who holds everybody up.
extension Roster {
    /// A member is asked for a sign of life so many times before it is given up.
    static let pingsInTime = 5
    /// So many failures in a row of two members to connect, and the one complained about is lost.
    static let mostComplaints = 3
    /// So many rings that stood still although nobody was to blame, and somebody is.
    static let mostFruitlessInterrupts = 3
    private static let longestStallDelay = Duration.milliseconds(1100)

    /// When `tick` is to come.
    package var nextDeadline: Duration {
        let deadlines = [
            isGathering ? configuration.joinTimeLimit : nil, stallDeadline, waitingSince.map { $0 + configuration.rejoinTimeout },
            formingSince.map { $0 + configuration.timeout },
        ]
        // What is past has been judged, and nothing came of it.
        return deadlines.reduce(nextPing) { soonest, other in other.map { $0 > now ? min(soonest, $0) : soonest } ?? soonest }
    }

    /// A coordinator that was frozen itself has heard nobody: that is not their silence.
    mutating func forgiveIfAsleep(until time: Duration) {
        guard time - nextDeadline > configuration.peerTimeout / 2 else { return }
        for rank in entries.keys { entries[rank]!.lastWord = time }
        nextPing = time
    }

    mutating func judgeTime() {
        if isGathering, !isOver, now >= configuration.joinTimeLimit { giveUpGathering() }
        if now >= nextPing {
            nextPing = now + configuration.peerTimeout / Roster.pingsInTime
            fenceTheSilent()
            for entry in sorted(where: { $0.standing != .left }) { actions.append(.send(.ping, to: entry.connection)) }
        }
        if let deadline = stallDeadline, now >= deadline { judgeStall() }
        if waitingSince != nil { formIfComplete() }
        if let since = formingSince, now - since >= configuration.timeout { fenceTheMissing() }
    }

    private mutating func giveUpGathering() {
        guard !missing.isEmpty else { return }
        let names = missing.prefix(8).map(String.init).joined(separator: ", ") + (missing.count > 8 ? ", ..." : "")
        refuseAll(
            "rank \(names) of \(configuration.worldSize) did not join within \(configuration.joinTimeLimit.secondsText)"
                + (lastRefused.map { "; refused was \($0)" } ?? ""))
        isOver = true
    }

    private mutating func fenceTheSilent() {
        for entry in sorted(where: { $0.standing != .left && now - $0.lastWord >= configuration.peerTimeout }) {
            fence(entry, "frozen: no word of it for \((now - entry.lastWord).secondsText)")
        }
    }

    /// They live, but do not come to the next ring, for which others wait.
    private mutating func fenceTheMissing() {
        formingSince = nil
        for entry in sorted(where: { if case .running = $0.standing { true } else { false } }) {
            fence(entry, "stuck: it has not come to the next ring within \(configuration.timeout.secondsText)")
        }
    }

    /// Sends a worker away: whatever it says from now on, and should it wake, nobody will hear it.
    private mutating func fence(_ entry: Entry, _ cause: String) {
        let rank = entry.member.rank
        actions += [
            .send(.refuse(reason: "fenced: the others go on without this worker (\(cause))"), to: entry.connection),
            .close(entry.connection), .tell(.fenced(rank: Int(rank))),
        ]
        lose(rank, cause)
    }

    // MARK: Who waits in vain

    /// In a ring each rank waits for another, so the first to say so is not the one who knows whose fault it is: that is who is waited
    /// for and waits for nobody.
    mutating func stalled(_ connection: Connection, waitingFor: UInt32, limit: Duration) {
        guard let rank = rankOf[connection], case .running = entries[rank]?.standing, firstLoss == nil else { return }
        if stalls.isEmpty { stallDeadline = now + min(limit / 4, Roster.longestStallDelay) }
        stalls[rank] = waitingFor
        stallLimit = max(stallLimit, limit)
    }

    /// All who wait in vain have said so.
    private mutating func judgeStall() {
        stallDeadline = nil
        guard let first = stalls.keys.min() else { return }
        var waiting = first
        var culprit = stalls[first]!
        var steps = 0
        while let next = stalls[culprit], steps < stalls.count {
            waiting = culprit
            culprit = next
            steps += 1
        }
        let allWait = stalls[culprit] != nil
        stalls = [:]
        guard let entry = entries[culprit] else { return }
        let cause = "rank \(waiting) waited for it for \(stallLimit.secondsText), and it for nobody: it is frozen, or busy with something else"
        if !configuration.isElastic { return lose(culprit, cause) }
        if allWait, fruitlessInterrupts < Roster.mostFruitlessInterrupts {
            // Every process lives and waits: bytes are lost on the way, and new connections may bring them.
            fruitlessInterrupts += 1
            return interruptOthers("no member's operation went on for \(stallLimit.secondsText)")
        }
        fence(entry, cause)
    }

    /// Two members cannot connect. Each is alive; if it stays so, one of them must go.
    mutating func complain(_ connection: Connection, _ about: UInt32, _ cause: String) {
        guard let rank = rankOf[connection], rank != about, let entry = entries[about], entry.isMember else { return }
        let pair = [min(rank, about), max(rank, about)]
        let before = complaints[pair]
        if before?.generation == generation { return }
        let isInARow = before.map { $0.generation + 1 == generation } ?? false
        let count = isInARow ? before!.count + 1 : 1
        complaints[pair] = (count, generation)
        guard count >= Roster.mostComplaints else { return }
        complaints[pair] = nil
        fence(entry, "rank \(rank) could not connect with it, \(count) times in a row: \(cause)")
    }
}
