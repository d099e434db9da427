import Collectives
import CRawRing
import Glibc
import Membership

/// The raw sockets that the ring is compared with: two plain TCP connections of a rank's own, to the same neighbours over the same
/// path as the ring's, and the same hops without frames, checks or a thread of their own.
///
/// It is brought about through the ring, whose peers have proved themselves: their addresses are gathered, and a random token
/// that rank 0 broadcasts says who is calling. Owns its sockets. Used by the compute thread.
final class BenchRawRing {
    private let rank: Int
    private let worldSize: Int
    private let left: Int32
    private let right: Int32
    private let milliseconds: Int32
    private let segment: UnsafeMutablePointer<Float>
    private static let segmentElements = 64 << 10

    init(ring: Ring, environment: WorkerEnvironment) throws {
        guard let coordinator = environment.coordinator, ring.worldSize > 1 else {
            preconditionFailure("a world of one has no sockets")
        }
        rank = ring.place
        worldSize = ring.worldSize
        let milliseconds = Int32(clamping: environment.timeout.components.seconds * 1000)
        self.milliseconds = milliseconds
        let rightRank = (rank + 1) % worldSize
        let leftRank = (rank + worldSize - 1) % worldSize

        // The places of all ranks' addresses, then the token.
        let addressBytes = Int(LOCKSTEP_RAW_ADDRESS_BYTES)
        var addresses = [UInt8](repeating: 0, count: worldSize * addressBytes)
        let rank = rank
        let listener = addresses.withUnsafeMutableBufferPointer {
            lockstep_raw_listen(coordinator.host, coordinator.port, $0.baseAddress! + rank * addressBytes)
        }
        defer { if listener >= 0 { Glibc.close(listener) } }
        // A rank without a listener has the address of zeros, so that the others learn of it too.
        try addresses.withUnsafeMutableBytes { try ring.allGather($0.bindMemory(to: Int32.self)) }
        var token = [Int64.random(in: .min ... .max)]
        try token.withUnsafeMutableBufferPointer { try ring.broadcast($0, from: 0) }
        func check(_ result: Int32, _ neighbour: Int, _ what: String) throws -> Int32 {
            guard result < 0 else { return result }
            throw CollectiveError.noRing(
                rank: neighbour, host: coordinator.host, cause: "the raw sockets \(what): \(String(cString: strerror(-result)))")
        }
        for other in 0..<worldSize where addresses[(other * addressBytes)..<((other + 1) * addressBytes)].allSatisfy({ $0 == 0 }) {
            throw CollectiveError.noRing(rank: other, host: coordinator.host, cause: "it has no address for the raw sockets")
        }
        // Each connection has a token of its own: the caller's rank is in it.
        let right = addresses.withUnsafeBufferPointer {
            lockstep_raw_connect(
                $0.baseAddress! + rightRank * addressBytes, UInt64(bitPattern: token[0]) ^ UInt64(rank), milliseconds)
        }
        self.right = try check(right, rightRank, "do not connect")
        let left = lockstep_raw_accept(listener, UInt64(bitPattern: token[0]) ^ UInt64(leftRank), milliseconds)
        if left < 0 { Glibc.close(right) }
        self.left = try check(left, leftRank, "were not called")
        // SAFETY: freed in deinit; written before it is read.
        // On a page: a copy in the kernel is several times slower where the two sides differ by 1 to 31 bytes modulo a page.
        segment = UnsafeMutableRawPointer.allocate(byteCount: BenchRawRing.segmentElements * 4, alignment: 4096)
            .bindMemory(to: Float.self, capacity: BenchRawRing.segmentElements)
    }

    deinit {
        Glibc.close(left)
        Glibc.close(right)
        UnsafeMutableRawPointer(segment).deallocate()
    }

    /// Returns when every rank has called it.
    func barrier() throws {
        try withUnsafeTemporaryAllocation(of: Float.self, capacity: worldSize) { values in
            values.initialize(repeating: 0)
            try run(values.baseAddress!, bounds: Array(0...worldSize), hops: 0..<(2 * (worldSize - 1)))
        }
    }

    /// Runs hops of a ring all-reduce over an array cut at `bounds`, one chunk a rank.
    func run(_ array: UnsafeMutablePointer<Float>, bounds: [Int], hops: Range<Int>) throws {
        precondition(bounds.count == worldSize + 1)
        let result = bounds.withUnsafeBufferPointer { bounds in
            // SAFETY: the bounds are those of the caller's array, in order and not negative, so that their bits are size_t's.
            bounds.withMemoryRebound(to: UInt.self) {
                lockstep_raw_hops(
                    left, right, Int32(rank), Int32(worldSize), Int32(hops.lowerBound), Int32(hops.upperBound),
                    $0.baseAddress!, array, segment, BenchRawRing.segmentElements, milliseconds)
            }
        }
        guard result == 0 else {
            throw CollectiveError.noRing(
                rank: (rank + worldSize - 1) % worldSize, host: "the left",
                cause: "the raw sockets failed: \(String(cString: strerror(-result)))")
        }
    }
}

/// A measurement's operation on the raw sockets, as `BenchWork` is on the ring: float32 of as many bytes.
final class BenchRawWork {
    private let raw: BenchRawRing
    private let operation: BenchOperation
    private let hops: Range<Int>
    private let rank: Int
    private let count: Int
    private let bounds: [Int]
    private let arrays: UnsafeMutablePointer<Float>
    private let stride: Int
    private let copies: Int
    private let own: BenchPattern
    private let sums: BenchPattern

    init(_ operation: BenchOperation, bytes: Int, copies: Int, raw: BenchRawRing, ring: Ring) {
        self.raw = raw
        self.operation = operation
        rank = ring.place
        let worldSize = ring.worldSize
        // What a barrier does is an all-reduce of one element a rank.
        let count = operation == .barrier ? worldSize : (bytes + 3) / 4
        self.count = count
        hops = operation.hops(worldSize: worldSize)
        bounds =
            operation == .broadcast
            ? [0] + Array(repeating: count, count: worldSize)
            : (0..<worldSize).map { ring.chunk($0, of: count).lowerBound } + [count]
        own = BenchPattern(.float32, rank: rank, worldSize: worldSize, limit: .float32)
        sums = BenchPattern(sumOf: .float32, worldSize: worldSize)
        // SAFETY: freed in deinit; written by `prepare`.
        self.copies = copies
        stride = (max(1, count) + 1023) & ~1023
        arrays = UnsafeMutableRawPointer.allocate(byteCount: copies * stride * 4, alignment: 4096)
            .bindMemory(to: Float.self, capacity: copies * stride)
    }

    deinit {
        UnsafeMutableRawPointer(arrays).deallocate()
    }

    private func array(_ copy: Int) -> UnsafeMutablePointer<Float> { arrays + copy * stride }

    func prepare(_ copy: Int) {
        let array = array(copy)
        own.fill(array, 0..<count)
        switch operation {
        case .allReduce, .reduceScatter, .barrier: break
        case .allGather: sums.fill(array, chunk)
        case .broadcast: if rank == 0 { sums.fill(array, 0..<count) }
        }
    }

    func perform(_ copy: Int) throws {
        try raw.run(array(copy), bounds: bounds, hops: hops)
    }

    /// Elements of this rank's that are wrong: there is no comparison with a baseline that does not do the work.
    func wrongElements() -> Int {
        (0..<copies).reduce(0) { $0 + sums.differences(array($1), operation == .reduceScatter ? chunk : 0..<count) }
    }

    private var chunk: Range<Int> { bounds[rank]..<bounds[rank + 1] }
}
