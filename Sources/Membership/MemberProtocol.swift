import Wire

/// A worker's side of the conversation with the coordinator, after the handshake: a pure state machine. `Member` drives it.
package struct MemberProtocol: ~Copyable {
    /// What a worker hears.
    package enum Event: Sendable {
        /// The ring of a generation: all members in order of rank, this one among them. `stop`: why the run is to stop.
        case announced(RingAnnouncement)
        /// The job is running: prepare, then join again.
        case toldToPrepare
        /// This worker is not needed any more. The conversation is over.
        case retired
        /// Another member went without leaving.
        case lost(rank: Int, cause: String)
        /// The ring is broken.
        case interrupted(cause: String)
        /// The ring is to be formed anew at the next boundary.
        case wishesReform
        case claimed(generation: UInt32, section: UInt64, piece: Int?)
        /// This worker is no member. The conversation is over.
        case failed(MembershipError)
        /// All members have left, or this one has waited long enough for them. The conversation is over.
        case over
    }

    package enum Action: Sendable {
        case send(ControlMessage)
        case tell(Event)
        /// Close the connection, after what was sent.
        case close
    }

    private enum Phase {
        /// Not waiting for anything.
        case present
        /// It has joined and waits for the next ring.
        case joined
        case leaving
        case closed
    }

    private let rank: Int
    private let coordinator: String
    private var phase = Phase.present
    private var generation: UInt32 = 0

    /// `coordinator` is its address, for messages to people.
    package init(rank: Int, coordinator: String) {
        self.rank = rank
        self.coordinator = coordinator
    }

    /// Whether the coordinator owes an answer: then it must be heard of now and then.
    package var isWaiting: Bool { phase == .joined }

    package mutating func join(_ join: ControlMessage.Join) -> [Action] {
        guard phase == .present else { return [] }
        phase = .joined
        return [.send(.join(join))]
    }

    package mutating func leave() -> [Action] {
        guard phase == .present else { return [] }
        phase = .leaving
        return [.send(.leave)]
    }

    package mutating func receive(_ message: ControlMessage) -> [Action] {
        guard phase != .closed else { return [] }
        switch message {
        case .ring(let announcement): return announced(announcement)
        case .prepare: return answered(.toldToPrepare)
        case .refuse(let reason): return end(.failed(.refused(reason: reason)))
        case .lost(let rank, let cause): return [.tell(.lost(rank: Int(rank), cause: cause))]
        case .interrupt(let cause): return [.tell(.interrupted(cause: cause))]
        case .reform: return [.tell(.wishesReform)]
        case .retire: return end(.retired)
        case .ping: return [.send(.pong)]
        case .claimed(let generation, let section, let piece):
            return [.tell(.claimed(generation: generation, section: section, piece: piece.map { Int($0) }))]
        case .over: return end(.over)
        case .join, .leave, .stalled, .pong, .complain, .claim, .scale, .scaled:
            return lose("it sent what only a worker sends")
        }
    }

    /// The connection has ended.
    package mutating func connectionEnded(_ cause: String) -> [Action] {
        switch phase {
        case .present, .joined: lose(cause)
        case .leaving: end(.over)
        case .closed: []
        }
    }

    /// Nothing was heard of a coordinator that owes an answer, or of the others' leaving, for the time that each may take.
    package mutating func timeIsUp(limit: String) -> [Action] {
        switch phase {
        case .joined: lose("nothing was heard of it for \(limit)")
        case .leaving: end(.over)
        case .present, .closed: []
        }
    }

    private mutating func announced(_ ring: RingAnnouncement) -> [Action] {
        let isInOrder = zip(ring.members, ring.members.dropFirst()).allSatisfy { $0.rank < $1.rank }
        guard isInOrder, ring.members.contains(where: { Int($0.rank) == rank }), ring.generation > generation else {
            return lose("it announced a ring that cannot be")
        }
        generation = ring.generation
        return answered(.announced(ring))
    }

    private mutating func answered(_ event: Event) -> [Action] {
        guard phase == .joined else { return lose("it answered what was not asked") }
        phase = .present
        return [.tell(event)]
    }

    private mutating func lose(_ cause: String) -> [Action] {
        end(.failed(.coordinatorLost(address: coordinator, cause: cause)))
    }

    private mutating func end(_ event: Event) -> [Action] {
        phase = .closed
        return [.close, .tell(event)]
    }
}
