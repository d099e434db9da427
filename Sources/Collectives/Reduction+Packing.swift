import CReductionKernels

/// Partial results as they travel: carriers may be packed, in 48 bits each, wherever that loses nothing. A payload's length says which it is.
extension Reduction {
    /// What so many partial results take on the wire when packed; nil for what is sent as it is.
    package func packedBytes(_ count: Int) -> Int? {
        guard element == .carrier, count >= Reduction.leastPacked, count <= LOCKSTEP_MOST_PACKED else { return nil }
        return lockstep_packed_bytes(count)
    }

    /// So many carriers are worth it, and take less than they do as they are.
    private static let leastPacked = 64

    /// Whether a payload of so many bytes can be `count` partial results.
    func isPayload(bytes: Int, ofPartials count: Int) -> Bool {
        bytes == count * partialBytes || bytes == packedBytes(count)
    }

    /// Packs carriers into memory that has room for them as they are. False where they do not fit.
    package func pack(_ source: UnsafeRawPointer, into packed: UnsafeMutableRawPointer, count: Int) -> Bool {
        // SAFETY: the ring gives `count` float64 at `source`; the two do not overlap.
        lockstep_pack(packed, source.assumingMemoryBound(to: Double.self), count)
    }

    /// Adds own to the payload of a partial result, which may be packed, and stays so if it can. Gives its bytes then.
    package func add(_ own: UnsafeRawPointer, toPayload payload: UnsafeMutableRawPointer, bytes: Int, count: Int) -> Int {
        guard bytes == packedBytes(count) else {
            add(own, to: payload, count: count)
            return bytes
        }
        // SAFETY: as for `pack`.
        let staysPacked = lockstep_add_packed(payload, own.assumingMemoryBound(to: Double.self), count)
        return staysPacked ? bytes : count * partialBytes
    }

    /// As `finish`, with the payload of a partial result, which may be packed.
    package func finish(
        payload: UnsafeRawPointer, bytes: Int, _ own: UnsafeRawPointer, into result: UnsafeMutableRawPointer, count: Int
    ) {
        guard bytes == packedBytes(count) else { return finish(payload, own, into: result, count: count) }
        // SAFETY: as for `pack`.
        lockstep_finish_packed(result, payload, own.assumingMemoryBound(to: Double.self), count)
    }
}
