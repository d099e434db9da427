import CZlib

/// zlib's decompressor for the gzip format (`inflate`, zlib.h). Used by one thread at a time.
final class Inflater {
    /// The two bytes that every gzip member starts with (RFC 1952).
    static let magic: [UInt8] = [0x1F, 0x8B]

    enum Outcome {
        /// Give it more input, or more room.
        case more
        /// The member is complete, and its checksum and length were right.
        case endOfMember
        case damaged(String)
    }

    private let stream: UnsafeMutablePointer<z_stream>

    init() {
        // SAFETY: zlib keeps a pointer back to the stream, so it lives on the heap, at one address, from here to deinit.
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        // 15 is the largest window, 16 selects the gzip format (zlib.h, inflateInit2).
        let status = inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        precondition(status == Z_OK, "inflateInit2 returned \(status): no memory, or another zlib than at build time")
    }

    deinit {
        inflateEnd(stream)
        stream.deinitialize(count: 1)
        stream.deallocate()
    }

    /// Makes ready for another member.
    func reset() {
        inflateReset(stream)
    }

    /// Decompresses from `input` to `output` until one of them is used up or the member ends.
    func inflate(
        _ input: Slice<UnsafeRawBufferPointer>, into output: UnsafeMutableRawBufferPointer
    ) -> (consumed: Int, produced: Int, outcome: Outcome) {
        let input = UnsafeRawBufferPointer(rebasing: input)
        let inputCount = min(input.count, Int(UInt32.max))
        let outputCount = min(output.count, Int(UInt32.max))
        // SAFETY: zlib reads at most `inputCount` bytes, writes at most `outputCount`, never writes through next_in, and
        // uses neither pointer after it returns, when both buffers are still borrowed.
        stream.pointee.next_in = UnsafeMutablePointer(
            mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
        stream.pointee.avail_in = UInt32(inputCount)
        stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = UInt32(outputCount)
        let status = CZlib.inflate(stream, Z_NO_FLUSH)
        let outcome: Outcome
        switch status {
        case Z_OK, Z_BUF_ERROR: outcome = .more
        case Z_STREAM_END: outcome = .endOfMember
        default: outcome = .damaged(stream.pointee.msg.map { String(cString: $0) } ?? "zlib reports error \(status)")
        }
        return (inputCount - Int(stream.pointee.avail_in), outputCount - Int(stream.pointee.avail_out), outcome)
    }
}
