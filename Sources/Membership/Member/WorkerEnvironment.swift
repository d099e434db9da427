import EventLoop
import Wire

/// A worker's place in the job, from the environment variables that torchrun uses. Their names are in `Key`.
///
///     RANK, WORLD_SIZE            this worker's number and how many there are
///     LOCAL_RANK                  its number on its host; RANK if unset
///     MASTER_ADDR, MASTER_PORT    where the coordinator listens
///     LOCKSTEP_SECRET             the job's secret, 64 hexadecimal digits
///     LOCKSTEP_COORDINATOR        "launcher" if a launcher coordinates; else rank 0 does, at MASTER_PORT
///     LOCKSTEP_TIMEOUT            seconds that anything on the network may stand still; 300 if unset
///     LOCKSTEP_PEER_TIMEOUT       seconds without a sign of life after which a worker is taken for frozen; 5 if unset
///     LOCKSTEP_JOIN_TIMEOUT       seconds in which all ranks of a job must have come; 120 if unset, or
///                                 LOCKSTEP_TIMEOUT if that is less
///     LOCKSTEP_OVERLAP            1: sums travel while the worker computes; 0: when it waits for them; if unset,
///                                 the cheaper of the two
///
/// Without RANK and WORLD_SIZE the program is a world of one, which needs none of the rest.
public struct WorkerEnvironment: Sendable, Equatable {
    public var rank: Int
    public var worldSize: Int
    public var localRank: Int
    /// nil in a world of one.
    package var coordinator: CoordinatorAddress?
    public var timeout: Duration
    public var peerTimeout: Duration
    /// How long ranks that start later than others are waited for.
    public var joinTimeout: Duration
    /// How long the coordinator is looked for: as long as ranks are waited for, but for less time where it is known, or
    /// likely, that it cannot be found.
    package var searchTimeout: Duration {
        guard let coordinator, isByHand, !coordinator.isOurs, coordinator.leadsHere else { return joinTimeout }
        if spansHosts { return .zero }
        return isJoinTimeoutGiven ? joinTimeout : min(joinTimeout, WorkerEnvironment.searchTimeoutHere)
    }
    private var isJoinTimeoutGiven = false
    /// How many of the job's workers are on this host, where that is said.
    package var localWorldSize: Int?
    private var spansHosts: Bool { localWorldSize.map { $0 < worldSize } ?? false }
    /// Whether sums travel while the worker computes. nil: they do, except in a ring within one host whose cores the
    /// workers use already.
    public var overlap: Bool?
    /// How many threads the worker computes with, and so how many cores it takes. Not in the environment: the program
    /// decides.
    public var threads = 1

    /// Whether nothing in the environment gives this process a place in a job.
    public var isAlone: Bool { worldSize == 1 && coordinator == nil }

    /// How a worker finds the coordinator and proves that it belongs.
    package struct CoordinatorAddress: Sendable, Equatable {
        package var host: String
        package var port: UInt16
        package var secret: Secret
        /// This worker is the coordinator itself: it is rank 0 and there is no launcher.
        package var isOurs: Bool
        /// It is in a launcher, which starts workers again; else it is in rank 0.
        package var isLaunchers = false

        package init(host: String, port: UInt16, secret: Secret, isOurs: Bool, isLaunchers: Bool = false) {
            self.host = host
            self.port = port
            self.secret = secret
            self.isOurs = isOurs
            self.isLaunchers = isLaunchers
        }

        /// Whether the host is written as an address or name that is each host's own.
        package var leadsHere: Bool {
            if let address = SocketAddress(host: host, port: port) {
                return address.isLoopback || address.isUnspecified
            }
            let name = host.lowercased()
            return name == "localhost" || name.hasPrefix("localhost.") || name.hasSuffix(".localhost")
        }
    }

    /// Whether the ranks of this job were started by hand: there is no launcher.
    package var isByHand: Bool { coordinator.map { !$0.isLaunchers } ?? false }

    package static let largestWorld = 65_536

    /// Descriptors that a worker has open at most, with a few to spare for its files: those of the process and its two
    /// loops, the control connection, the ring's two and those for exchanges, two for each of their ceil(log2 n)
    /// rounds. One that coordinates has a connection with every rank besides.
    package static func descriptors(worldSize: Int, coordinates: Bool) -> Int {
        let rounds = worldSize > 1 ? Int.bitWidth - (worldSize - 1).leadingZeroBitCount : 0
        return 32 + 2 * rounds + (coordinates ? worldSize + 1 : 0)
    }

    /// A world of one.
    public init() {
        rank = 0
        worldSize = 1
        localRank = 0
        coordinator = nil
        timeout = .seconds(300)
        peerTimeout = .seconds(5)
        joinTimeout = WorkerEnvironment.usualJoinTimeout
    }

    package static let usualJoinTimeout = Duration.seconds(120)
    /// At an address of this host itself: where it is right, all ranks are on this host, and were started together.
    package static let searchTimeoutHere = Duration.seconds(15)

    /// Reads the process's environment.
    public static func current() throws(MembershipError) -> WorkerEnvironment {
        try WorkerEnvironment { $0.value }
    }

    /// Reads an environment given by a function from names to values.
    package init(value: (Key) -> String?) throws(MembershipError) {
        self.init()
        func number(_ key: Key, in range: ClosedRange<Int>) throws(MembershipError) -> Int? {
            guard let text = value(key) else { return nil }
            guard let number = Int(text), range.contains(number) else {
                throw .environment(
                    name: key.rawValue, value: text,
                    wanted: "a whole number from \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }
        func required(_ key: Key) throws(MembershipError) -> String {
            guard let text = value(key), !text.isEmpty else { throw .missingEnvironment(name: key.rawValue) }
            return text
        }
        if let seconds = try number(.timeout, in: 1...86_400) { timeout = .seconds(seconds) }
        if let seconds = try number(.peerTimeout, in: 1...86_400) { peerTimeout = .seconds(seconds) }
        let joinSeconds = try number(.joinTimeout, in: 1...86_400)
        joinTimeout = joinSeconds.map { .seconds($0) } ?? min(timeout, WorkerEnvironment.usualJoinTimeout)
        isJoinTimeoutGiven = joinSeconds != nil
        overlap = try number(.overlap, in: 0...1).map { $0 == 1 }
        let givenRank = try number(.rank, in: 0...(WorkerEnvironment.largestWorld - 1))
        let givenSize = try number(.worldSize, in: 1...WorkerEnvironment.largestWorld)
        guard givenRank != nil || givenSize != nil else { return }
        guard let givenRank else { throw .missingEnvironment(name: Key.rank.rawValue) }
        guard let givenSize else { throw .missingEnvironment(name: Key.worldSize.rawValue) }
        guard givenRank < givenSize else {
            throw .environment(
                name: Key.rank.rawValue, value: "\(givenRank)", wanted: "less than WORLD_SIZE, which is \(givenSize)")
        }
        rank = givenRank
        worldSize = givenSize
        localRank = try number(.localRank, in: 0...(WorkerEnvironment.largestWorld - 1)) ?? givenRank
        guard worldSize > 1 || value(.coordinator) != nil else { return }
        localWorldSize = value(.localWorldSize).flatMap { Int($0) }

        let host = try required(.coordinatorHost)
        _ = try required(.coordinatorPort)
        let port = try number(.coordinatorPort, in: 1...65_535) ?? 0
        let secretText = try required(.secret)
        let secret: Secret
        do {
            secret = try Secret(hexadecimal: secretText)
        } catch {
            throw .environment(
                name: Key.secret.rawValue, value: "(\(secretText.utf8.count) characters)",
                wanted: "64 hexadecimal digits, as from: openssl rand -hex 32")
        }
        let isLaunchers = value(.coordinator) == WorkerEnvironment.launcherCoordinates
        coordinator = CoordinatorAddress(
            host: host, port: UInt16(port), secret: secret, isOurs: givenRank == 0 && !isLaunchers,
            isLaunchers: isLaunchers)
    }
}
