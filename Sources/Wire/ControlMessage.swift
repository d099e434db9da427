/// A member of the ring as the coordinator announces it.
public struct MemberAddress: Sendable, Equatable {
    /// Its number in the job.
    public var rank: UInt32
    /// Where it accepts ring connections.
    public var host: String
    /// The port at which it accepts ring connections.
    public var port: UInt16
    /// The name that its machine calls itself, for messages to people.
    public var hostName: String
    /// Its process there, for messages to people.
    public var processID: Int32
    /// Where it would take control connections, should the coordinator be lost with the process that it is in; 0 for nowhere.
    public var successorPort: UInt16

    /// A member with these addresses.
    public init(rank: UInt32, host: String, port: UInt16, hostName: String, processID: Int32, successorPort: UInt16 = 0) {
        self.rank = rank
        self.host = host
        self.port = port
        self.hostName = hostName
        self.processID = processID
        self.successorPort = successorPort
    }
}

/// A generation of the ring as the coordinator announces it: to all its members the same.
public struct RingAnnouncement: Sendable, Equatable {
    /// The number of the generation, from 1.
    public var generation: UInt32
    /// In order of rank.
    public var members: [MemberAddress]
    /// The ranks among them that are to go at a boundary: not before it was announced, so that all know whose state is to stay with the others.
    public var retiring: [UInt32]
    /// Why the run is to write a checkpoint and stop.
    public var stop: String?

    /// A generation of these members, in order of rank.
    public init(generation: UInt32, members: [MemberAddress], retiring: [UInt32] = [], stop: String? = nil) {
        self.generation = generation
        self.members = members
        self.retiring = retiring
        self.stop = stop
    }
}

/// What a worker and the coordinator say to each other after their handshake.
///
/// On the wire: the body's length as 32 bits, then the body: one byte of kind and the fields in order, little-endian.
public enum ControlMessage: Sendable, Equatable {
    // MARK: A worker says

    /// I have stopped my ring, if I had one, and take the next one's connections.
    case join(Join)
    /// My work is done; my going is no loss.
    case leave
    /// Nothing has come from that rank for the whole time-out, of so many milliseconds, in which operations were under way.
    case stalled(waitingFor: UInt32, limitMilliseconds: UInt32)
    /// The answer to `ping`.
    case pong
    /// The ring could not be formed with that rank, or nothing that is sent to it arrives.
    case complain(rank: UInt32, cause: String)
    /// A connection with that rank has ended, by its end or by the network's.
    case linkEnded(rank: UInt32, cause: String)
    /// I have done work with all others: the start is over.
    case begun
    /// I end, for this reason. Also said by one that has not joined.
    case failing(reason: String)
    /// The next of so many pieces of the work of a section, if there is one for me.
    case claim(generation: UInt32, section: UInt64, count: UInt32)

    // MARK: The coordinator says

    /// The next generation's ring.
    case ring(RingAnnouncement)
    /// You cannot be a member, or are no longer one.
    case refuse(reason: String)
    /// A member went without leaving: stop your ring and join again.
    case lost(rank: UInt32, cause: String)
    /// The ring is broken, though nobody may be lost: stop yours and join again.
    case interrupt(cause: String)
    /// A newcomer waits to come in, or a member is retiring: form the ring again at the next boundary.
    case wantsReform
    /// The job is running: prepare by yourself, then join again.
    case prepare
    /// You are no longer needed: go.
    case retire
    /// Say `pong`.
    case ping
    /// All members have left; nobody needs anybody any more.
    case over
    /// The answer to `claim`; nil when there is no further piece for you.
    case claimed(generation: UInt32, section: UInt64, piece: UInt32?)

    // MARK: A client says, and is told

    /// The job is to have so many workers.
    case scale(workers: UInt32)
    /// What comes of it.
    case scaled(text: String)

    /// What a worker says of itself when it is ready for the next ring.
    public struct Join: Sendable, Equatable {
        /// The last generation that was announced to this worker; 0 if none was.
        public var generation: UInt32
        /// Newcomers may be let in with the next ring.
        public var isOpen: Bool
        /// All members come, because they agreed to (`wantsReform`): none need be interrupted, and those that retire may go.
        public var isBoundary: Bool
        /// The number of workers that its environment has.
        public var worldSize: UInt32
        /// Who it is, and where it takes connections.
        public var member: MemberAddress

        /// By default the first word of a worker that has been in no ring.
        public init(
            generation: UInt32 = 0, isOpen: Bool = false, isBoundary: Bool = false, worldSize: UInt32, member: MemberAddress
        ) {
            self.generation = generation
            self.isOpen = isOpen
            self.isBoundary = isBoundary
            self.worldSize = worldSize
            self.member = member
        }
    }

    /// 65,536 members of a hundred bytes each would still fit; anything longer is not from a coordinator.
    public static let longestBody = 8 << 20
}
