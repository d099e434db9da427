/// Bytes from a file or from memory, read from front to back, inflated on the way if they are gzip.
///
/// Compression is recognised by gzip's first two bytes, not by the file's name. Memory is one piece of input, whatever
/// the file's size. Used by one thread at a time.
final class ByteStream {
    /// Deflate's best case is 1032 bytes for one: what no file can exceed, however small it is.
    private static let greatestInflation = 1032
    private static let pieceBytes = 64 * 1024

    /// The file's path, or what to call the memory in an error.
    let path: String
    /// More than this many bytes cannot come out, so a header that announces more is wrong.
    let maximumByteCount: Int

    /// Whether the bytes are inflated on the way.
    var isCompressed: Bool { inflater != nil }

    private let pull: (_ offset: Int, _ into: UnsafeMutableRawBufferPointer) throws(DatasetError) -> Int
    private let inflater: Inflater?
    private var offset = 0
    private var piece = [UInt8](repeating: 0, count: ByteStream.pieceBytes)
    private var unread = 0..<0
    private var isEnded = false

    convenience init(path: String) throws(DatasetError) {
        let file = try InputFile(path: path)
        try self.init(path: path, byteCount: file.byteCount) { (offset, buffer) throws(DatasetError) in
            try file.read(at: offset, into: buffer)
        }
    }

    convenience init(name: String, bytes: [UInt8]) throws(DatasetError) {
        try self.init(path: name, byteCount: bytes.count) { (offset, buffer) throws(DatasetError) in
            let end = min(bytes.count, offset + buffer.count)
            buffer.copyBytes(from: bytes[offset..<end])
            return end - offset
        }
    }

    private init(
        path: String, byteCount: Int,
        pull: @escaping (_ offset: Int, _ into: UnsafeMutableRawBufferPointer) throws(DatasetError) -> Int
    ) throws(DatasetError) {
        self.path = path
        self.pull = pull
        var magic = [UInt8](repeating: 0, count: 2)
        let isGzip = try magic.withUnsafeMutableBufferPointer { (buffer) throws(DatasetError) in
            try pull(0, UnsafeMutableRawBufferPointer(buffer))
        } == 2
            && magic == Inflater.magic
        inflater = isGzip ? Inflater() : nil
        let (inflated, overflow) = byteCount.multipliedReportingOverflow(by: ByteStream.greatestInflation)
        maximumByteCount = isGzip ? (overflow ? Int.max : inflated) : byteCount
    }

    /// The next `count` bytes, or fewer at the end of the stream. Memory is only taken for bytes that are there, as far
    /// as `maximumByteCount` can tell.
    func read(_ count: Int) throws(DatasetError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: min(count, maximumByteCount))
        let found = try bytes.withUnsafeMutableBufferPointer { (buffer) throws(DatasetError) in
            try read(into: UnsafeMutableRawBufferPointer(buffer))
        }
        bytes.removeLast(bytes.count - found)
        return bytes
    }

    /// Whether the stream has ended. A gzip stream whose checksum is wrong throws here at the latest.
    func isAtEnd() throws(DatasetError) -> Bool {
        try read(1).isEmpty
    }

    /// Fills `buffer` as far as the stream goes and returns the number of bytes.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(DatasetError) -> Int {
        var filled = 0
        while filled < buffer.count && !isEnded {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
            if let inflater {
                filled += try inflate(with: inflater, into: rest)
            } else {
                filled += try copy(into: rest)
            }
        }
        return filled
    }

    private func copy(into buffer: UnsafeMutableRawBufferPointer) throws(DatasetError) -> Int {
        let count = try pull(offset, buffer)
        offset += count
        isEnded = count == 0
        return count
    }

    private func inflate(
        with inflater: Inflater, into buffer: UnsafeMutableRawBufferPointer
    ) throws(DatasetError) -> Int {
        if unread.isEmpty { try refill() }
        if unread.isEmpty { throw .damagedGzip(path: path, reason: "the compressed data ends too early") }
        let result = piece.withUnsafeBytes { inflater.inflate($0[unread], into: buffer) }
        unread = (unread.lowerBound + result.consumed)..<unread.upperBound
        switch result.outcome {
        case .more: break
        case .damaged(let reason): throw .damagedGzip(path: path, reason: reason)
        case .endOfMember: try startNextMember(inflater)
        }
        return result.produced
    }

    /// A gzip file may be several members one after the other (pigz, bgzip, `cat a.gz b.gz`); anything else is not gzip.
    private func startNextMember(_ inflater: Inflater) throws(DatasetError) {
        if unread.isEmpty { try refill() }
        if unread.isEmpty {
            isEnded = true
        } else if piece[unread.lowerBound] == Inflater.magic[0] {
            inflater.reset()
        } else {
            throw .damagedGzip(path: path, reason: "bytes follow the compressed data")
        }
    }

    private func refill() throws(DatasetError) {
        let count = try piece.withUnsafeMutableBufferPointer { (buffer) throws(DatasetError) in
            try pull(offset, UnsafeMutableRawBufferPointer(buffer))
        }
        offset += count
        unread = 0..<count
    }
}
