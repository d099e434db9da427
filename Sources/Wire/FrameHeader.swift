/// The 64 bytes before each payload on a ring connection, little-endian.
///
///     offset  bytes  field
///     0       4      magic
///     4       4      generation
///     8       8      operation: the sender's count of collective operations, from 0
///     16      8      slice: counted through all operations of the generation, from 0
///     24      2      hop: how many links the payload has travelled
///     26      2      signature: what the sender thinks the operation is (element types, reduction)
///     28      4      payload bytes
///     32      8      elements of the whole operation
///     40      24     zero
///
/// Between header and payload stand as many bytes as make the whole frame a multiple of 64: payloads of such a length then begin at
/// multiples of 64 in the stream, and so in the kernel's pages. Copies whose two ends differ by a few bytes within the page are several
/// times as slow on some processors.
///
/// The receiver knows all of these but compares them: two ranks whose programs differ are told so at once instead of
/// summing what does not belong together.
public struct FrameHeader: Sendable, Equatable {
    /// The bytes of a header.
    public static let byteCount = 64
    /// The longest header with what follows it to the payload.
    public static let longestHead = 2 * byteCount - 1
    /// What a header begins with.
    public static let magic: UInt32 = 0x5246_4B4C  // "LKFR", little-endian

    /// The generation of the ring that the frame belongs to.
    public var generation: UInt32
    /// The sender's number of the collective operation, from 0.
    public var operation: UInt64
    /// The number of the slice in this generation, from 0; of an exchange its own number.
    public var slice: UInt64
    /// Links that the payload has travelled; of an exchange the round.
    public var hop: UInt16
    /// Element type, reduction and pattern, as `CollectiveOperation.signature` has them.
    public var signature: UInt16
    /// Bytes of the payload.
    public var payloadBytes: UInt32
    /// Elements of the whole operation.
    public var elementCount: UInt64

    /// The bytes from the header's first to the payload's first.
    public var headBytes: Int {
        FrameHeader.byteCount + (FrameHeader.byteCount - Int(payloadBytes) % FrameHeader.byteCount) % FrameHeader.byteCount
    }

    /// A header with these fields.
    public init(
        generation: UInt32, operation: UInt64, slice: UInt64, hop: UInt16, signature: UInt16, payloadBytes: UInt32,
        elementCount: UInt64
    ) {
        self.generation = generation
        self.operation = operation
        self.slice = slice
        self.hop = hop
        self.signature = signature
        self.payloadBytes = payloadBytes
        self.elementCount = elementCount
    }

    /// Writes the header into memory that the caller owns, `byteCount` bytes of it.
    public func encode(into destination: UnsafeMutableRawPointer) {
        // SAFETY: all stores lie within the `byteCount` bytes that the caller promises; they need no alignment.
        destination.storeBytes(of: FrameHeader.magic.littleEndian, toByteOffset: 0, as: UInt32.self)
        destination.storeBytes(of: generation.littleEndian, toByteOffset: 4, as: UInt32.self)
        destination.storeBytes(of: operation.littleEndian, toByteOffset: 8, as: UInt64.self)
        destination.storeBytes(of: slice.littleEndian, toByteOffset: 16, as: UInt64.self)
        destination.storeBytes(of: hop.littleEndian, toByteOffset: 24, as: UInt16.self)
        destination.storeBytes(of: signature.littleEndian, toByteOffset: 26, as: UInt16.self)
        destination.storeBytes(of: payloadBytes.littleEndian, toByteOffset: 28, as: UInt32.self)
        destination.storeBytes(of: elementCount.littleEndian, toByteOffset: 32, as: UInt64.self)
        destination.storeBytes(of: 0, toByteOffset: 40, as: UInt64.self)
        destination.storeBytes(of: 0, toByteOffset: 48, as: UInt64.self)
        destination.storeBytes(of: 0, toByteOffset: 56, as: UInt64.self)
    }

    /// Reads a header from `byteCount` bytes. Refuses a wrong magic, another generation and a payload over `limit`:
    /// what is left to check needs the operation that it belongs to.
    public init(
        decoding source: UnsafeRawPointer, generation expected: UInt32, payloadLimit limit: Int
    ) throws(WireError) {
        // SAFETY: all loads lie within the `byteCount` bytes that the caller promises; they need no alignment.
        func load<Value: FixedWidthInteger>(_ offset: Int, _: Value.Type) -> Value {
            Value(littleEndian: source.loadUnaligned(fromByteOffset: offset, as: Value.self))
        }
        let magic = load(0, UInt32.self)
        guard magic == FrameHeader.magic else { throw .wrongMagic(magic) }
        generation = load(4, UInt32.self)
        operation = load(8, UInt64.self)
        slice = load(16, UInt64.self)
        hop = load(24, UInt16.self)
        signature = load(26, UInt16.self)
        payloadBytes = load(28, UInt32.self)
        elementCount = load(32, UInt64.self)
        guard generation == expected else { throw .wrongGeneration(theirs: generation, ours: expected) }
        guard Int(payloadBytes) <= limit else { throw .frameTooLong(bytes: Int(payloadBytes), limit: limit) }
    }
}
