import CReductionKernels

/// A worker's partial sums for `--reduction bf16`: float32 while the worker adds up its own micro-batches, bfloat16 between workers, so
/// that half the bytes of float32 travel.
///
/// Each worker's sum is rounded once before it leaves (`round`), and the sum of two workers' once at each addition on the way, to nearest
/// with ties to even: 8 bits of significand, a relative error of up to 2^-9 an addition. The sum depends on the number of workers.
/// Owns its memory, 64-byte aligned; threads as `ExactAccumulator`.
public final class BFloatAccumulator {
    /// This worker's own sums.
    public let partial: FloatAccumulator
    /// What travels: all ranks' sums after the all-reduce.
    private let rounded: UnsafeMutablePointer<BFloat16>

    public init(count: Int, parts: [ExactAccumulator.Part]) {
        partial = FloatAccumulator(count: count, parts: parts)
        // SAFETY: freed in deinit; the ring reads only ranges that `round` has written.
        rounded = UnsafeMutableRawPointer.allocate(byteCount: max(count, 1) * 2, alignment: 64)
            .bindMemory(to: BFloat16.self, capacity: max(count, 1))
        rounded.initialize(repeating: BFloat16(bitPattern: 0), count: count)
    }

    deinit {
        UnsafeMutableRawPointer(rounded).deallocate()
    }

    /// Rounds this worker's sums of a range to bfloat16: what `Ring.startAllReduce` is then given. The float32 sums stay.
    public func round(_ range: Range<Int>) -> UnsafeMutableBufferPointer<BFloat16> {
        let values = UnsafeMutableBufferPointer(start: rounded + range.lowerBound, count: range.count)
        // SAFETY: both arenas have `count` elements, of which the range is a part by contract; a BFloat16 is its bit pattern.
        lockstep_to_bf16(
            UnsafeMutableRawPointer(values.baseAddress!).assumingMemoryBound(to: UInt16.self), partial.sums + range.lowerBound, range.count)
        return values
    }

    /// Writes a range's bfloat16, by then all workers' sums, to `result` as float32; `result` is where the range begins.
    public func widen(_ range: Range<Int>, into result: UnsafeMutablePointer<Float>) {
        // SAFETY: as in `round`; the result has room for the range by contract.
        lockstep_from_bf16(result, UnsafeRawPointer(rounded + range.lowerBound).assumingMemoryBound(to: UInt16.self), range.count)
    }
}
