/// Which of a host's addresses is tried when: a pure state machine. `Connector` drives it; times count from any zero.
///
/// In a round every address is tried, each a moment after the one before, or at once when that one has failed. A round is over when each of
/// its attempts has failed, or has had no answer for a while; one without an answer goes on beside the next rounds, in which its address is
/// not tried again. Names are looked up in each round, as they may change while a cluster starts.
package struct ConnectPlan {
    /// An attempt's number.
    package typealias Attempt = Int

    package enum Action: Equatable {
        /// Look the host's addresses up; `resolved` follows.
        case resolve
        case connect(Attempt, SocketAddress)
        /// The name does not stand for this attempt's address any more.
        case abandon(Attempt)
        /// Everything has been tried, once.
        case giveUp
        /// Nothing to do until then, or until something happens.
        case wait(until: Duration?)
    }

    private enum Phase {
        case pausing(until: Duration)
        case resolving
        case trying
    }

    /// Attempts in flight, and the time from which they are not waited for.
    private var inFlight: [(attempt: Attempt, address: SocketAddress, patience: Duration)] = []
    private var toTry: [SocketAddress] = []
    private var toAbandon: [Attempt] = []
    private var nextTry = Duration.zero
    private var phase = Phase.pausing(until: .zero)
    private var pause = ConnectPlan.firstPause
    private let isRepeating: Bool
    /// Attempts made.
    package private(set) var attempts = 0

    /// Between two addresses (RFC 8305, section 5).
    package static let stagger = Duration.milliseconds(250)
    /// Without an answer for so long an attempt holds up no round.
    package static let patience = Duration.seconds(1)
    /// Pauses between rounds double from the first to the longest.
    private static let firstPause = Duration.milliseconds(5)
    private static let longestPause = Duration.milliseconds(500)
    /// So many of a name's addresses are tried at a time.
    private static let mostInFlight = 16

    /// - Parameter isRepeating: whether rounds follow one another without end; else there is one, and every attempt is waited for.
    package init(isRepeating: Bool) {
        self.isRepeating = isRepeating
    }

    /// What is to be done now; to be asked until it is `wait` or `giveUp`.
    package mutating func next(at now: Duration) -> Action {
        if let attempt = toAbandon.popLast() { return .abandon(attempt) }
        switch phase {
        case .pausing(let until):
            guard now >= until else { return .wait(until: until) }
            phase = .resolving
            return .resolve
        case .resolving:
            return .wait(until: nil)
        case .trying:
            if !toTry.isEmpty {
                guard now >= nextTry else { return .wait(until: nextTry) }
                guard inFlight.count < ConnectPlan.mostInFlight else { return .abandon(inFlight.removeFirst().attempt) }
                return tryNext(at: now)
            }
            let patience = inFlight.map(\.patience).filter { !isRepeating || $0 > now }.max()
            if let patience { return .wait(until: isRepeating ? patience : nil) }
            guard isRepeating else { return .giveUp }
            phase = .pausing(until: now + pause)
            pause = min(pause * 2, ConnectPlan.longestPause)
            return next(at: now)
        }
    }

    private mutating func tryNext(at now: Duration) -> Action {
        let address = toTry.removeFirst()
        attempts += 1
        inFlight.append((attempts, address, now + ConnectPlan.patience))
        nextTry = now + ConnectPlan.stagger
        return .connect(attempts, address)
    }

    /// The host's addresses, in the system's order of preference; none where they could not be found.
    package mutating func resolved(_ addresses: [SocketAddress], at now: Duration) {
        phase = .trying
        var new: [SocketAddress] = []
        for address in addresses where !new.contains(address) { new.append(address) }
        // A resolver that fails for the moment says nothing about the attempts under way.
        if !new.isEmpty {
            toAbandon = inFlight.filter { !new.contains($0.address) }.map(\.attempt)
            inFlight.removeAll { !new.contains($0.address) }
        }
        toTry = ConnectPlan.interleaved(new.filter { address in !inFlight.contains { $0.address == address } })
        nextTry = now
    }

    /// An attempt has failed: the next address need not wait.
    package mutating func failed(_ attempt: Attempt, at now: Duration) {
        inFlight.removeAll { $0.attempt == attempt }
        nextTry = min(nextTry, now)
    }

    /// The two families in turns, beginning with the system's first choice: often a whole family leads nowhere.
    private static func interleaved(_ addresses: [SocketAddress]) -> [SocketAddress] {
        guard let first = addresses.first else { return [] }
        var families = [addresses.filter { $0.isIPv6 == first.isIPv6 }, addresses.filter { $0.isIPv6 != first.isIPv6 }]
        var result: [SocketAddress] = []
        while let next = families.first(where: { !$0.isEmpty })?.first {
            if families[0].isEmpty { families.swapAt(0, 1) }
            families[0].removeFirst()
            result.append(next)
            families.swapAt(0, 1)
        }
        return result
    }
}
