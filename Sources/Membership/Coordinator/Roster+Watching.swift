import EventLoop
import Wire

/// What time brings: signs of life, deadlines, and who holds everybody up.
extension Roster {
    /// A member is asked for a sign of life so many times before it is given up.
    static let pingsInTime = 5
    /// A member that has answered one of so many pings shows that the others could be heard.
    private static let pingsThatProve = 2
    /// So many pings that no member answered: all stood still.
    private static let pingsUntilStandstill = 3
    /// So many rings that stood still although nobody was to blame, and somebody is.
    static let mostFruitlessInterrupts = 3
    private static let longestStallDelay = Duration.milliseconds(1100)

    /// When `tick` is to come.
    package var nextDeadline: Duration {
        let deadlines = [
            isGathering ? joinDeadline : nil, stallDeadline, waitingSince.map { $0 + configuration.rejoinTimeout },
            formingSince.map { $0 + configuration.timeout }, troubleDeadline, awaitedUntil, doubts.values.map(\.deadline).min(),
        ]
        // What is past has been judged, and nothing came of it.
        return deadlines.reduce(nextPing) { soonest, other in other.map { $0 > now ? min(soonest, $0) : soonest } ?? soonest }
    }

    private var pingInterval: Duration { configuration.peerTimeout / Roster.pingsInTime }

    /// A coordinator that was frozen itself has heard nobody: that is not their silence, and no time in which anybody could have come.
    mutating func forgiveIfAsleep(until time: Duration) {
        let slept = time - nextDeadline
        guard slept > configuration.peerTimeout / 2 else { return }
        forgiveSilence(at: time)
        nextPing = time
        guard slept >= configuration.peerTimeout else { return }
        joinDeadline += slept
        waitingSince = waitingSince.map { $0 + slept }
        formingSince = formingSince.map { $0 + slept }
        stallDeadline = stallDeadline.map { $0 + slept }
        troubleDeadline = troubleDeadline.map { $0 + slept }
        awaitedUntil = awaitedUntil.map { $0 + slept }
        for rank in doubts.keys { doubts[rank]?.deadline += slept }
        silentSince = silentSince.map { $0 + slept }
    }

    /// Something was heard of a worker. Where it is the first word of any member for long, all stood still, and none is behind the others
    /// but for the order in which they are heard.
    mutating func heard(_ rank: UInt32) {
        guard let entry = entries[rank] else { return }
        entries[rank]?.lastWord = now
        guard entry.isMember else { return }
        if now - lastMemberWord > pingInterval * Roster.pingsUntilStandstill { forgiveSilence(at: now) }
        lastMemberWord = now
        guard silentSince != nil else { return }
        silentSince = nil
        actions.append(.tell(.silence(.over(rank: Int(rank)))))
    }

    private mutating func forgiveSilence(at time: Duration) {
        for rank in entries.keys { entries[rank]?.lastWord = time }
        lastMemberWord = time
    }

    mutating func judgeTime() {
        judgeStart()
        judgeSuccession()
        if isGathering, !isOver, now >= joinDeadline { giveUpGathering() }
        if now >= nextPing {
            nextPing = now + pingInterval
            judgeSilence()
            for entry in sorted(where: { $0.standing != .left }) { actions.append(.send(.ping, to: entry.connection)) }
        }
        if let deadline = stallDeadline, now >= deadline { judgeStall() }
        if waitingSince != nil { formIfComplete() }
        if let since = formingSince, now - since >= configuration.timeout { fenceTheMissing() }
    }

    /// Who is silent while a member speaks is frozen. Where no member speaks the launcher was stopped, or the machine, or all of them; and
    /// who alone has the run's state is nobody to go on without.
    private mutating func judgeSilence() {
        let silent = sorted { $0.standing != .left && now - $0.lastWord >= configuration.peerTimeout }
        guard !silent.isEmpty else { return }
        let hasEndedWell = entries.values.contains { $0.standing == .left }
        if hasEndedWell || now - lastMemberWord <= pingInterval * Roster.pingsThatProve {
            return fence(silent)
        }
        let members = silent.filter(\.isMember)
        guard !members.isEmpty, members.count == entries.values.count(where: \.isMember) else { return }
        guard let since = silentSince else {
            silentSince = now
            let ranks = members.map { Int($0.member.rank) }
            let limit = configuration.rejoinTimeout
            actions.append(.tell(.silence(.begun(ranks: ranks, time: now - lastMemberWord, limit: limit))))
            return
        }
        guard now - since >= configuration.rejoinTimeout else { return }
        silentSince = nil
        actions.append(.tell(.silence(.tooLong(limit: now - since))))
        fence(members)
    }

    private mutating func fence(_ silent: [Entry]) {
        for entry in silent { fence(entry, "frozen: no word of it for \((now - entry.lastWord).secondsText)") }
    }

    /// They live, but do not come to the next ring, for which others wait.
    private mutating func fenceTheMissing() {
        let isWaitedFor = entries.values.contains { if case .joined = $0.standing { true } else { false } }
        formingSince = isWaitedFor ? nil : now
        guard isWaitedFor else { return }
        for entry in sorted(where: { if case .running = $0.standing { true } else { false } }) {
            fence(entry, "stuck: it has not come to the next ring within \(configuration.timeout.secondsText)")
        }
    }

    /// Sends a worker away: whatever it says from now on, and should it wake, nobody will hear it.
    mutating func fence(_ entry: Entry, _ cause: String) {
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
            isExplained = true
            return interruptOthers("no member's operation went on for \(stallLimit.secondsText)")
        }
        fence(entry, cause)
    }
}
