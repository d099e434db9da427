import CLibuv

/// A stream's write requests, kept for reuse: a few from the start, and as many more as were ever in flight at once, so that a
/// stream in steady state allocates none.
struct WriteRequestPool {
    private static let initialCount = 4

    private var free: [UnsafeMutablePointer<uv_write_t>] = []

    init() {
        free.reserveCapacity(4 * WriteRequestPool.initialCount)
        for _ in 0..<WriteRequestPool.initialCount { free.append(.allocate(capacity: 1)) }
    }

    mutating func take() -> UnsafeMutablePointer<uv_write_t> {
        free.popLast() ?? .allocate(capacity: 1)
    }

    mutating func give(_ request: UnsafeMutablePointer<uv_write_t>) {
        free.append(request)
    }

    /// Frees all requests. libuv must have given back every one, as it has by the close callback.
    mutating func deallocate() {
        for request in free { request.deallocate() }
        free = []
    }
}
