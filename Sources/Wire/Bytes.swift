/// Appends fixed-width little-endian values to a byte array: the writing half of every Lockstep message.
///
/// Owns its bytes. Not for the ring's data path, whose headers are written in place (`FrameHeader`).
package struct ByteWriter {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    package mutating func append<Value: FixedWidthInteger>(_ value: Value) {
        var rest = value
        for _ in 0..<(Value.bitWidth / 8) {
            bytes.append(UInt8(truncatingIfNeeded: rest))
            rest = Value.bitWidth > 8 ? rest >> 8 : 0
        }
    }

    package mutating func append(_ raw: some Sequence<UInt8>) {
        bytes.append(contentsOf: raw)
    }

    /// A string as a 16-bit length and its UTF-8 bytes, cut at `limit` bytes: text on the wire is for people only.
    package mutating func append(text: String, limit: Int = 4096) {
        let utf8 = Array(text.utf8.prefix(limit))
        append(UInt16(utf8.count))
        append(utf8)
    }
}

/// Takes fixed-width little-endian values off the front of a byte array that a peer sent.
///
/// Every read checks what is left first; too few bytes give `WireError.truncated` and never a trap.
package struct ByteReader {
    private let bytes: [UInt8]
    private var position = 0

    package init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    package var remaining: Int { bytes.count - position }

    package mutating func read<Value: FixedWidthInteger>(_: Value.Type = Value.self) throws(WireError) -> Value {
        let width = Value.bitWidth / 8
        guard remaining >= width else { throw .truncated(needed: width, left: remaining) }
        var value: Value = 0
        for index in 0..<width {
            value |= Value(truncatingIfNeeded: bytes[position + index]) << Value(index * 8)
        }
        position += width
        return value
    }

    package mutating func read(count: Int) throws(WireError) -> [UInt8] {
        guard count >= 0, remaining >= count else { throw .truncated(needed: count, left: remaining) }
        defer { position += count }
        return Array(bytes[position..<(position + count)])
    }

    /// The counterpart of `ByteWriter.append(text:)`; invalid UTF-8 is repaired, since text is for people only.
    package mutating func readText() throws(WireError) -> String {
        let count = try read(UInt16.self)
        return String(decoding: try read(count: Int(count)), as: UTF8.self)
    }

    /// Ends a message: bytes that nobody read mean that sender and receiver disagree about the format.
    package func finish() throws(WireError) {
        guard remaining == 0 else { throw .trailingBytes(remaining) }
    }
}
