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
        /// The coordinator is lost with the rank that it was in; another member is to coordinate until the run has stopped.
        case orphaned(rank: Int, cause: String)
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
        /// Find out who takes the coordinator's place; `adopted` or `notAdopted` follows.
        case findSuccessor(Inheritance)
    }

    /// What a member knows when the coordinator is lost.
    package struct Inheritance: Equatable, Sendable {
        /// The last generation announced.
        package var generation: UInt32
        /// Its members that may live, by rank, this one among them: the first of them that does takes the coordinator's place.
        package var heirs: [MemberAddress]
        /// The rank that the coordinator was in, and how it was lost.
        package var coordinatorRank: UInt32
        package var cause: String
        /// Where it was, for people.
        package var coordinator: String

        package var reason: String { "the coordinator went with rank \(coordinatorRank) (\(coordinator)): \(cause)" }
    }

    private enum Phase {
        /// Not waiting for anything.
        case present
        /// It has joined and waits for the next ring.
        case joined
        /// The coordinator is lost, and another one is looked for.
        case orphaned
        case leaving
        case closed
    }

    private let rank: Int
    private let coordinator: String
    private var phase = Phase.present
    private var generation: UInt32 = 0
    /// The rank that the coordinator is in; nil where it is in a launcher, whose place nobody takes.
    private var coordinatorRank: UInt32?
    private var members: [MemberAddress] = []
    /// Members that are gone, as far as is known.
    private var gone: Set<UInt32> = []
    /// Sent, or to be sent to the next coordinator, and not answered.
    private var lastJoin: ControlMessage.Join?

    /// `coordinator` is its address, for messages to people.
    package init(rank: Int, coordinator: String, coordinatorRank: UInt32? = nil) {
        self.rank = rank
        self.coordinator = coordinator
        self.coordinatorRank = coordinatorRank
    }

    /// Whether the coordinator owes an answer: then it must be heard of now and then.
    package var isWaiting: Bool { phase == .joined }

    package mutating func join(_ join: ControlMessage.Join) -> [Action] {
        guard phase == .present || phase == .orphaned else { return [] }
        lastJoin = join
        guard phase == .present else { return [] }
        phase = .joined
        return [.send(.join(join))]
    }

    package mutating func leave() -> [Action] {
        // Nobody is there to be told.
        if phase == .orphaned { return end(.over) }
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
        case .lost(let rank, let cause):
            gone.insert(rank)
            return [.tell(.lost(rank: Int(rank), cause: cause))]
        case .interrupt(let cause): return [.tell(.interrupted(cause: cause))]
        case .reform: return [.tell(.wishesReform)]
        case .retire: return end(.retired)
        case .ping: return [.send(.pong)]
        case .claimed(let generation, let section, let piece):
            return [.tell(.claimed(generation: generation, section: section, piece: piece.map { Int($0) }))]
        case .over: return end(.over)
        case .join, .leave, .stalled, .pong, .complain, .linkEnded, .begun, .failing, .claim, .scale, .scaled:
            return lose("it sent what only a worker sends")
        }
    }

    /// The connection has ended.
    package mutating func connectionEnded(_ cause: String) -> [Action] {
        switch phase {
        case .present, .joined: orphaned(cause) ?? lose(cause)
        case .leaving: end(.over)
        case .orphaned, .closed: []
        }
    }

    /// Nil where nobody is to take the coordinator's place: before the first ring there is nothing to be kept.
    private mutating func orphaned(_ cause: String) -> [Action]? {
        guard let coordinatorRank, generation > 0 else { return nil }
        gone.insert(coordinatorRank)
        let heirs = members.filter { !gone.contains($0.rank) && $0.successorPort > 0 }
        guard heirs.contains(where: { Int($0.rank) == rank }) else { return nil }
        phase = .orphaned
        return [
            .tell(.orphaned(rank: Int(coordinatorRank), cause: cause)),
            .findSuccessor(
                Inheritance(
                    generation: generation, heirs: heirs, coordinatorRank: coordinatorRank, cause: cause, coordinator: coordinator)),
        ]
    }

    /// This rank's process, or another one's, has taken the coordinator's place, and is connected with.
    package mutating func adopted(by rank: UInt32) -> [Action] {
        guard phase == .orphaned else { return [] }
        coordinatorRank = rank
        phase = lastJoin == nil ? .present : .joined
        return lastJoin.map { [.send(.join($0))] } ?? []
    }

    /// The others have a coordinator, or there is none.
    package mutating func notAdopted(_ cause: String) -> [Action] {
        phase == .orphaned ? lose(cause) : []
    }

    /// Nothing was heard of a coordinator that owes an answer, or of the others' leaving, for the time that each may take.
    package mutating func timeIsUp(limit: String) -> [Action] {
        switch phase {
        case .joined: lose("nothing was heard of it for \(limit)")
        case .leaving: end(.over)
        case .present, .orphaned, .closed: []
        }
    }

    private mutating func announced(_ ring: RingAnnouncement) -> [Action] {
        let isInOrder = zip(ring.members, ring.members.dropFirst()).allSatisfy { $0.rank < $1.rank }
        guard isInOrder, ring.members.contains(where: { Int($0.rank) == rank }), ring.generation > generation else {
            return lose("it announced a ring that cannot be")
        }
        generation = ring.generation
        members = ring.members
        return answered(.announced(ring))
    }

    private mutating func answered(_ event: Event) -> [Action] {
        guard phase == .joined else { return lose("it answered what was not asked") }
        phase = .present
        lastJoin = nil
        return [.tell(event)]
    }

    private mutating func lose(_ cause: String) -> [Action] {
        end(.failed(.coordinatorLost(address: coordinator, cause: cause)))
    }

    private mutating func end(_ event: Event) -> [Action] {
        phase = .closed
        lastJoin = nil
        return [.close, .tell(event)]
    }
}
