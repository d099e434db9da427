import Processes
import Wire

/// The memory in which partial sums land on their way: one buffer for each slot that is in use, taken from a stack, so that the buffer
/// used next is the one used last, which is still in the cache.
///
/// There are as many buffers as slots, so a free slot always finds one. Owns them; freed in deinit.
struct SlotPool: ~Copyable {
    enum State {
        case free
        /// Bytes are arriving.
        case landing
        /// All bytes are there, before this rank submitted the operation they belong to; `header` says which.
        case early
        /// Being sent on, or kept for the end of the operation.
        case inUse
    }

    let bytes: Int
    private let memory: UnsafeMutableRawPointer
    private var states: [State]
    private var buffers: [Int]
    private var headers: [FrameHeader]
    private var freeBuffers: [Int]

    init(count: Int, bytes: Int) {
        self.bytes = bytes
        states = [State](repeating: .free, count: count)
        buffers = [Int](repeating: -1, count: count)
        headers = [FrameHeader](
            repeating: FrameHeader(
                generation: 0, operation: 0, slice: 0, hop: 0, signature: 0, payloadBytes: 0, elementCount: 0),
            count: count)
        freeBuffers = Array((0..<count).reversed())
        // SAFETY: freed in deinit; pages that are never used are never touched and cost nothing.
        memory = allocateMemory(byteCount: count * bytes, alignment: 4096, for: "segments of the ring")
    }

    deinit {
        memory.deallocate()
    }

    func state(_ slot: Int) -> State { states[slot] }

    /// The header that a slot's bytes came with.
    func header(_ slot: Int) -> FrameHeader { headers[slot] }

    /// What is in a slot takes so many bytes now.
    mutating func setBytes(_ slot: Int, _ bytes: Int) {
        headers[slot].payloadBytes = UInt32(bytes)
    }

    /// The memory of a slot that is not free.
    func memory(_ slot: Int) -> UnsafeMutableRawPointer {
        precondition(buffers[slot] >= 0, "a free slot has no memory")
        return memory + buffers[slot] * bytes
    }

    /// Gives a free slot its buffer, for the bytes that follow the header.
    mutating func take(_ slot: Int, for header: FrameHeader) -> UnsafeMutableRawPointer {
        precondition(states[slot] == .free)
        states[slot] = .landing
        headers[slot] = header
        buffers[slot] = freeBuffers.removeLast()
        return memory(slot)
    }

    mutating func set(_ slot: Int, _ state: State) {
        precondition(states[slot] != .free && state != .free, "slots become free by `release`")
        states[slot] = state
    }

    mutating func release(_ slot: Int) {
        states[slot] = .free
        freeBuffers.append(buffers[slot])
        buffers[slot] = -1
    }
}
