import CReductionKernels

/// Partial results as they travel. Carriers have three forms: as they are, packed in 48 bits, and narrow, as float32; the latter two wherever they
/// lose nothing. A payload's length says which it is.
extension Reduction {
    /// What so many partial results take on the wire when packed; nil for what is sent as it is.
    package func packedBytes(_ count: Int) -> Int? {
        mayShrink(count) ? lockstep_packed_bytes(count) : nil
    }

    /// What so many partial results take on the wire when narrow; nil for what is sent as it is.
    package func narrowBytes(_ count: Int) -> Int? {
        mayShrink(count) ? count * 4 : nil
    }

    /// So many carriers are worth it, and take less than they do as they are.
    private func mayShrink(_ count: Int) -> Bool {
        element == .carrier && count >= 64 && count <= LOCKSTEP_MOST_PACKED
    }

    /// Whether a payload of so many bytes can be `count` partial results.
    func isPayload(bytes: Int, ofPartials count: Int) -> Bool {
        bytes == count * partialBytes || bytes == packedBytes(count) || bytes == narrowBytes(count)
    }

    /// Writes carriers in the smallest form that loses nothing to memory that has room for them as they are. Its bytes; nil, and nothing of use
    /// there, where that is as they are. Only with `packs` are they packed.
    package func shrink(_ source: UnsafeRawPointer, into memory: UnsafeMutableRawPointer, count: Int, packs: Bool) -> Int? {
        guard let narrow = narrowBytes(count), let packed = packedBytes(count) else { return nil }
        // SAFETY: the ring gives `count` float64 at `source`; the two do not overlap.
        let carriers = source.assumingMemoryBound(to: Double.self)
        if lockstep_narrow(memory.assumingMemoryBound(to: Float.self), carriers, count) { return narrow }
        return packs && lockstep_pack(memory, carriers, count) ? packed : nil
    }

    /// Adds own to the payload of a partial result, in memory that has room for it as it is. Gives its bytes then: what was packed stays so if it
    /// can, and what was narrow is packed with `packs`, if it can be.
    package func add(
        _ own: UnsafeRawPointer, toPayload payload: UnsafeMutableRawPointer, bytes: Int, count: Int, packs: Bool
    ) -> Int {
        // SAFETY: as for `shrink`.
        let carriers = own.assumingMemoryBound(to: Double.self)
        switch bytes {
        case packedBytes(count):
            return lockstep_add_packed(payload, carriers, count) ? bytes : count * partialBytes
        case narrowBytes(count):
            lockstep_add_narrow(payload, carriers, count)
            guard packs, let packed = packedBytes(count), lockstep_pack_in_place(payload, count) else { return count * partialBytes }
            return packed
        default:
            add(own, to: payload, count: count)
            return bytes
        }
    }

    /// As `finish`, with the payload of a partial result, in whichever form.
    package func finish(
        payload: UnsafeRawPointer, bytes: Int, _ own: UnsafeRawPointer, into result: UnsafeMutableRawPointer, count: Int
    ) {
        // SAFETY: as for `shrink`.
        let carriers = own.assumingMemoryBound(to: Double.self)
        switch bytes {
        case packedBytes(count):
            lockstep_finish_packed(result, payload, carriers, count)
        case narrowBytes(count):
            lockstep_finish_narrow(
                result.assumingMemoryBound(to: Float.self), payload.assumingMemoryBound(to: Float.self), carriers, count)
        default:
            finish(payload, own, into: result, count: count)
        }
    }
}
