import EventLoop
import Wire

/// What time brings: signs of life, deadlines, and which member holds up all others.
extension Roster {
    /// What is known of signs of life.
    struct Watch {
        /// When all are asked for a sign of life again.
        var nextPing: Duration
        /// When something was last heard of any member.
        var lastMemberWord = Duration.zero
        /// Since when it is known that nothing is heard of any member.
        var silentSince: Duration?
        /// Rings that stood still although no member was to blame.
        var standstills = 0
    }

    /// Members whose operations do not go on.
    struct Stall {
        /// When all that wait have had time to say so.
        var deadline: Duration
        /// For which rank each of them waits.
        var waitsFor: [UInt32: UInt32] = [:]
        /// How long they waited before they said so.
        var limit = Duration.zero
    }

    /// A member is asked for a sign of life this many times before it is given up.
    static let pingsInTime = 5
    /// A member that has answered one of this many pings shows that the others could be heard.
    private static let pingsThatProve = 2
    /// This many pings that no member answered: all stood still.
    private static let pingsUntilStandstill = 3
    /// After this many rings that stood still although no member was to blame, one is.
    static let mostStandstills = 3
    private static let longestStallDelay = Duration.milliseconds(1100)

    private var pingInterval: Duration { configuration.peerTimeout / Roster.pingsInTime }

    // MARK: Deadlines

    /// When `tick` is to come.
    package var nextDeadline: Duration {
        var deadlines = [watch.nextPing]
        if let stall = ring.stall { deadlines.append(stall.deadline) }
        if case .provisional(let provision) = start, let at = provision.verdictAt { deadlines.append(at) }
        switch state {
        case .gathering(let gathering): deadlines += [gathering.deadline] + gathering.doubts.values.map(\.deadline)
        case .reforming(let since): deadlines.append(since + configuration.timeout)
        case .waiting(let since): deadlines.append(since + configuration.rejoinTimeout)
        case .succeeding(let succession): deadlines.append(succession.deadline)
        case .running, .failed, .over: break
        }
        // What is past has been judged, and nothing came of it.
        return deadlines.filter { $0 > now }.min() ?? watch.nextPing
    }

    /// A coordinator that was frozen itself has heard nothing: that is not the members' silence, and no time in which
    /// any could have come.
    mutating func forgiveIfAsleep(until time: Duration) {
        let slept = time - nextDeadline
        guard slept > configuration.peerTimeout / 2 else { return }
        forgiveSilence(at: time)
        watch.nextPing = time
        if slept >= configuration.peerTimeout { postponeDeadlines(by: slept) }
    }

    private mutating func postponeDeadlines(by time: Duration) {
        watch.silentSince = watch.silentSince.map { $0 + time }
        ring.stall?.deadline += time
        provision { $0.verdictAt = $0.verdictAt.map { $0 + time } }
        switch state {
        case .gathering(var gathering):
            gathering.deadline += time
            for rank in gathering.doubts.keys { gathering.doubts[rank]?.deadline += time }
            state = .gathering(gathering)
        case .reforming(let since): state = .reforming(since: since + time)
        case .waiting(let since): state = .waiting(since: since + time)
        case .succeeding(var succession):
            succession.deadline += time
            state = .succeeding(succession)
        case .running, .failed, .over: break
        }
    }

    mutating func judgeTime() {
        judgeStart()
        judgeSuccession()
        if now >= watch.nextPing {
            watch.nextPing = now + pingInterval
            judgeSilence()
            for entry in entries.sorted(where: { $0.standing != .left }) {
                actions.append(.send(.ping, to: entry.connection))
            }
        }
        if let stall = ring.stall, now >= stall.deadline { judge(stall) }
        if case .waiting = state { formIfComplete() }
        if case .reforming(let since) = state, now - since >= configuration.timeout { fenceTheMissing() }
    }

    // MARK: Signs of life

    /// Something was heard of a worker. Where it is the first word of any member for long, all stood still, and none is
    /// behind the others but for the order in which they are heard.
    mutating func heard(_ rank: UInt32) {
        entries.change(rank) { $0.lastWord = now }
        guard entries[rank]?.isMember == true else { return }
        if now - watch.lastMemberWord > pingInterval * Roster.pingsUntilStandstill { forgiveSilence(at: now) }
        watch.lastMemberWord = now
        guard watch.silentSince != nil else { return }
        watch.silentSince = nil
        actions.append(.tell(.silence(.over(rank: Int(rank)))))
    }

    private mutating func forgiveSilence(at time: Duration) {
        entries.forgiveSilence(at: time)
        watch.lastMemberWord = time
    }

    /// A worker that is silent while a member speaks is frozen. Where no member speaks the launcher was stopped, or the
    /// machine, or all workers; and a member that alone has the run's state cannot be done without.
    private mutating func judgeSilence() {
        let silent = entries.sorted { $0.standing != .left && now - $0.lastWord >= configuration.peerTimeout }
        guard !silent.isEmpty else { return }
        let hasEndedWell = entries.all.contains { $0.standing == .left }
        if hasEndedWell || now - watch.lastMemberWord <= pingInterval * Roster.pingsThatProve {
            return fence(silent)
        }
        let members = silent.filter(\.isMember)
        guard !members.isEmpty, members.count == entries.all.count(where: \.isMember) else { return }
        guard let since = watch.silentSince else {
            watch.silentSince = now
            let ranks = members.map { Int($0.member.rank) }
            let limit = configuration.rejoinTimeout
            actions.append(.tell(.silence(.begun(ranks: ranks, time: now - watch.lastMemberWord, limit: limit))))
            return
        }
        guard now - since >= configuration.rejoinTimeout else { return }
        watch.silentSince = nil
        actions.append(.tell(.silence(.tooLong(limit: now - since))))
        fence(members)
    }

    private mutating func fence(_ silent: [Entry]) {
        for entry in silent { fence(entry, "frozen: no word of it for \((now - entry.lastWord).secondsText)") }
    }

    /// Sends a worker away: it is not heard any more, whatever it says from now on, should it wake.
    mutating func fence(_ entry: Entry, _ cause: String) {
        let rank = entry.member.rank
        actions += [
            .send(.refuse(reason: "fenced: the others go on without this worker (\(cause))"), to: entry.connection),
            .close(entry.connection), .tell(.fenced(rank: Int(rank))),
        ]
        lose(rank, cause)
    }

    /// They live, but do not come to the next ring, for which others wait.
    private mutating func fenceTheMissing() {
        state = .reforming(since: now)
        guard entries.all.contains(where: \.isJoined) else { return }
        for entry in entries.sorted(where: \.isRunning) {
            fence(entry, "stuck: it has not come to the next ring within \(configuration.timeout.secondsText)")
        }
    }

    // MARK: Waiting without progress

    /// In a ring each rank waits for another, so the first to say so does not know whose fault it is: it is the member
    /// that is waited for and waits for no other.
    mutating func stalled(_ connection: Connection, waitingFor: UInt32, limit: Duration) {
        guard let rank = entries.rank(of: connection), entries[rank]?.isRunning == true else { return }
        if case .failed = state { return }
        var stall = ring.stall ?? Stall(deadline: now + min(limit / 4, Roster.longestStallDelay))
        stall.waitsFor[rank] = waitingFor
        stall.limit = max(stall.limit, limit)
        ring.stall = stall
    }

    mutating func forgetStall(of rank: UInt32) {
        ring.stall?.waitsFor[rank] = nil
        if ring.stall?.waitsFor.isEmpty == true { ring.stall = nil }
    }

    /// All that wait have said so.
    private mutating func judge(_ stall: Stall) {
        ring.stall = nil
        guard var waiting = stall.waitsFor.keys.min(), var culprit = stall.waitsFor[waiting] else { return }
        var steps = 0
        while let next = stall.waitsFor[culprit], steps < stall.waitsFor.count {
            waiting = culprit
            culprit = next
            steps += 1
        }
        let allWait = stall.waitsFor[culprit] != nil
        guard let entry = entries[culprit] else { return }
        let cause =
            "rank \(waiting) waited \(stall.limit.secondsText) for it; it was waiting for nobody: "
            + "it is frozen, or busy with something else"
        if !configuration.isElastic { return lose(culprit, cause) }
        if allWait, watch.standstills < Roster.mostStandstills {
            // Every process lives and waits: bytes are lost on the way, and new connections may bring them.
            watch.standstills += 1
            ring.isExplained = true
            return interruptOthers("no member's operation went on for \(stall.limit.secondsText)")
        }
        fence(entry, cause)
    }
}
