import EventLoop
import Wire

/// A worker's side of the conversation with the coordinator, after the handshake: a pure state machine, driven by
/// `Member`.
///
///     present ──join──▶ joined ──the coordinator answers──▶ present ──leave──▶ leaving ──▶ closed
///        │                │
///        └─connection ended, and another member is to coordinate──▶ orphaned ──adopted──▶ present, or joined
///
/// Whatever ends the conversation leads from any state to closed.
package struct MemberProtocol: ~Copyable {
    package enum Event: Sendable {
        /// This worker has stopped its ring, or had none, and asks for the next one.
        case join(ControlMessage.Join)
        /// This worker's work is done.
        case leave
        /// The coordinator said something.
        case said(ControlMessage)
        case connectionEnded(cause: String)
        /// This rank's process, or another one's, has taken the coordinator's place, and is connected with.
        case adopted(by: UInt32)
        /// The others have a coordinator, or there is none.
        case notAdopted(cause: String)
        /// The time of `nextDeadline` has come.
        case tick
    }

    package enum Action: Sendable {
        case send(ControlMessage)
        case tell(Notice)
        /// Close the connection, after what was sent.
        case close
        /// Find out which member takes the coordinator's place; `adopted` or `notAdopted` follows.
        case findSuccessor(Inheritance)
    }

    /// What a worker hears.
    package enum Notice: Sendable {
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
        /// The ring is to be formed again at the next boundary.
        case wantsReform
        case claimed(generation: UInt32, section: UInt64, piece: Int?)
        /// The coordinator is lost with the rank that it was in; another member is to coordinate until the run has
        /// stopped.
        case orphaned(rank: Int, cause: String)
        /// This worker is no member. The conversation is over.
        case failed(MembershipError)
        /// All members have left, or this one has waited long enough for them. The conversation is over.
        case over
    }

    /// What a member knows when the coordinator is lost.
    package struct Inheritance: Equatable, Sendable {
        /// The last generation announced.
        package var generation: UInt32
        /// Its members that may live, by rank, this one among them: the first of them that does takes the coordinator's
        /// place.
        package var heirs: [MemberAddress]
        /// The rank that the coordinator was in, and how it was lost.
        package var coordinatorRank: UInt32
        package var cause: String
        /// Where it was, for people.
        package var coordinator: String

        package init(
            generation: UInt32, heirs: [MemberAddress], coordinatorRank: UInt32, cause: String, coordinator: String
        ) {
            self.generation = generation
            self.heirs = heirs
            self.coordinatorRank = coordinatorRank
            self.cause = cause
            self.coordinator = coordinator
        }

        package var reason: String { "the coordinator went with rank \(coordinatorRank) (\(coordinator)): \(cause)" }
    }

    private enum State {
        /// Not waiting for anything.
        case present
        /// It waits for the answer to its join. The coordinator must be heard of before `deadline`.
        case joined(ControlMessage.Join, deadline: Duration)
        /// The coordinator is lost, and another one is looked for, who gets the join that has had no answer.
        case orphaned(ControlMessage.Join?)
        /// It waits for the others to leave, too.
        case leaving(deadline: Duration)
        case closed
    }

    /// How long a worker that has left waits for the others to leave, too, so that a coordinator in rank 0 is there for
    /// all.
    package static let leaveTimeLimit = Duration.seconds(10)

    private let rank: Int
    private let coordinator: String
    /// The longest silence of a coordinator that owes an answer.
    private let waitLimit: Duration
    private var state = State.present
    /// The last ring announced.
    private var ring: RingAnnouncement?
    /// The rank that the coordinator is in; nil where it is in a launcher, whose place no member takes.
    private var coordinatorRank: UInt32?
    /// Members that are gone, as far as is known.
    private var gone: Set<UInt32> = []

    /// `coordinator` is its address, for messages to people.
    package init(rank: Int, coordinator: String, coordinatorRank: UInt32? = nil, waitLimit: Duration) {
        self.rank = rank
        self.coordinator = coordinator
        self.coordinatorRank = coordinatorRank
        self.waitLimit = waitLimit
    }

    /// When `tick` is wanted; nil for never.
    package var nextDeadline: Duration? {
        switch state {
        case .joined(_, let deadline), .leaving(let deadline): deadline
        case .present, .orphaned, .closed: nil
        }
    }

    /// Takes an event. Times count from any zero and never go back.
    package mutating func receive(_ event: Event, at now: Duration) -> [Action] {
        switch event {
        case .join(let join): joins(join, at: now)
        case .leave: leaves(at: now)
        case .said(let message): said(message, at: now)
        case .connectionEnded(let cause): connectionEnded(cause)
        case .adopted(let rank): adopted(by: rank, at: now)
        case .notAdopted(let cause): if case .orphaned = state { lose(cause) } else { [] }
        case .tick: passDeadline(at: now)
        }
    }

    private mutating func joins(_ join: ControlMessage.Join, at now: Duration) -> [Action] {
        switch state {
        case .present:
            state = .joined(join, deadline: now + waitLimit)
            return [.send(.join(join))]
        case .orphaned:
            state = .orphaned(join)
            return []
        case .joined, .leaving, .closed: return []
        }
    }

    private mutating func leaves(at now: Duration) -> [Action] {
        switch state {
        case .present:
            state = .leaving(deadline: now + MemberProtocol.leaveTimeLimit)
            return [.send(.leave)]
        // There is no coordinator to be told.
        case .orphaned: return end(.over)
        case .joined, .leaving, .closed: return []
        }
    }

    // MARK: What the coordinator says

    private mutating func said(_ message: ControlMessage, at now: Duration) -> [Action] {
        // Any word of the coordinator's says that it is there.
        switch state {
        case .joined(let join, _): state = .joined(join, deadline: now + waitLimit)
        case .closed: return []
        case .present, .orphaned, .leaving: break
        }
        switch message {
        case .ring(let announcement): return announced(announcement)
        case .prepare: return answered(.toldToPrepare)
        case .refuse(let reason): return end(.failed(.refused(reason: reason)))
        case .lost(let rank, let cause):
            gone.insert(rank)
            return [.tell(.lost(rank: Int(rank), cause: cause))]
        case .interrupt(let cause): return [.tell(.interrupted(cause: cause))]
        case .wantsReform: return [.tell(.wantsReform)]
        case .retire: return end(.retired)
        case .ping: return [.send(.pong)]
        case .claimed(let generation, let section, let piece):
            return [.tell(.claimed(generation: generation, section: section, piece: piece.map { Int($0) }))]
        case .over: return end(.over)
        case .join, .leave, .stalled, .pong, .complain, .linkEnded, .begun, .failing, .claim, .scale, .scaled:
            return lose("it sent what only a worker sends")
        }
    }

    private mutating func announced(_ new: RingAnnouncement) -> [Action] {
        let isInOrder = zip(new.members, new.members.dropFirst()).allSatisfy { $0.rank < $1.rank }
        let isMember = new.members.contains { Int($0.rank) == rank }
        guard isInOrder, isMember, new.generation > ring?.generation ?? 0 else {
            return lose("it announced a ring that cannot be")
        }
        ring = new
        return answered(.announced(new))
    }

    private mutating func answered(_ notice: Notice) -> [Action] {
        guard case .joined = state else { return lose("it answered what was not asked") }
        state = .present
        return [.tell(notice)]
    }

    // MARK: When the coordinator is lost

    private mutating func connectionEnded(_ cause: String) -> [Action] {
        switch state {
        case .present: orphaned(nil, cause) ?? lose(cause)
        case .joined(let join, _): orphaned(join, cause) ?? lose(cause)
        case .leaving: end(.over)
        case .orphaned, .closed: []
        }
    }

    /// Nil where no member is to take the coordinator's place: before the first ring there is nothing to be kept.
    private mutating func orphaned(_ join: ControlMessage.Join?, _ cause: String) -> [Action]? {
        guard let coordinatorRank, let ring else { return nil }
        gone.insert(coordinatorRank)
        let heirs = ring.members.filter { !gone.contains($0.rank) && $0.successorPort > 0 }
        guard heirs.contains(where: { Int($0.rank) == rank }) else { return nil }
        state = .orphaned(join)
        return [
            .tell(.orphaned(rank: Int(coordinatorRank), cause: cause)),
            .findSuccessor(
                Inheritance(
                    generation: ring.generation, heirs: heirs, coordinatorRank: coordinatorRank, cause: cause,
                    coordinator: coordinator)),
        ]
    }

    private mutating func adopted(by rank: UInt32, at now: Duration) -> [Action] {
        guard case .orphaned(let join) = state else { return [] }
        coordinatorRank = rank
        state = join.map { .joined($0, deadline: now + waitLimit) } ?? .present
        return join.map { [.send(.join($0))] } ?? []
    }

    // MARK: The end

    private mutating func passDeadline(at now: Duration) -> [Action] {
        switch state {
        case .joined(_, let deadline) where now >= deadline:
            lose("nothing was heard of it for \(waitLimit.secondsText)")
        case .leaving(let deadline) where now >= deadline: end(.over)
        default: []
        }
    }

    private mutating func lose(_ cause: String) -> [Action] {
        end(.failed(.coordinatorLost(address: coordinator, cause: cause)))
    }

    private mutating func end(_ notice: Notice) -> [Action] {
        state = .closed
        return [.close, .tell(notice)]
    }
}
