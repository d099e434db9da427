/// The IDX format of the MNIST files: a four-byte magic, big-endian 32-bit dimensions, raw data.
///
/// Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", "File formats".
enum IDX {
    /// Unsigned bytes, one dimension.
    static let labelsMagic: UInt32 = 0x0000_0801
    /// Unsigned bytes, three dimensions.
    static let imagesMagic: UInt32 = 0x0000_0803

    /// No dimension of an image is larger. MNIST and its kin have 28, EMNIST too.
    private static let greatestSide = 4096

    /// Reads a file of unsigned bytes whole, and checks that it is exactly what its header says.
    ///
    /// Nothing is allocated for a header's promise before it is known that a file of this size can keep it.
    static func read(_ path: String, magic: UInt32) throws(DatasetError) -> (dimensions: [Int], bytes: [UInt8]) {
        let stream = try ByteStream(path: path)
        let rank = Int(magic & 0xFF)
        let headerBytes = 4 + 4 * rank
        let header = try stream.read(headerBytes)
        let words = stride(from: 0, to: header.count - header.count % 4, by: 4).map { offset in
            header[offset..<offset + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        }
        if let first = words.first, first != magic {
            throw .wrongMagic(path: path, expected: magic, found: first)
        }
        guard header.count == headerBytes else {
            throw .truncated(path: path, expected: headerBytes, found: header.count)
        }
        let dimensions = words.dropFirst().map(Int.init)
        let size = try byteCount(dimensions, path: path)
        guard size <= stream.maximumByteCount else {
            if stream.isCompressed { throw .unreasonableDimensions(path: path, dimensions: dimensions) }
            throw .truncated(path: path, expected: headerBytes + size, found: stream.maximumByteCount)
        }
        let bytes = try stream.read(size)
        guard bytes.count == size else {
            throw .truncated(path: path, expected: headerBytes + size, found: headerBytes + bytes.count)
        }
        guard try stream.isAtEnd() else { throw .trailingBytes(path: path, expected: headerBytes + size) }
        return (dimensions, bytes)
    }

    private static func byteCount(_ dimensions: [Int], path: String) throws(DatasetError) -> Int {
        guard dimensions[0] >= 1, dimensions.dropFirst().allSatisfy({ (1...greatestSide).contains($0) }) else {
            throw .unreasonableDimensions(path: path, dimensions: dimensions)
        }
        // At most 2^32 * 2^12 * 2^12: no overflow.
        return dimensions.reduce(1, *)
    }
}
