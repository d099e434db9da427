/// Tokens of 16 bits in a file, little-endian: what nanoGPT's and llm.c's scripts write.
///
/// - nanoGPT: nothing but tokens.
/// - llm.c: a header of 256 32-bit words (20240520, version 1, the number of tokens, zeros), then the tokens. A file of the
///   former kind cannot look like it with GPT-2's vocabulary: its first token would have to be 55432.
///
/// Nothing of the file is kept in memory but what a batch asks for, so its size makes no difference. It is read by position and
/// not mapped: both go through the same page cache, but a disk's fault, or a file that is cut short during a run, is then an error
/// with a name and not a SIGBUS, and pages that were looked at do not pile up in the process's resident memory.
///
/// Every token is compared with the vocabulary when it is read. Any thread may read.
public struct TokenFile: Sendable {
    /// Words of the header that begins a file of llm.c.
    private static let magic: UInt32 = 20_240_520
    private static let version: UInt32 = 1
    private static let headerBytes = 1024
    /// llm.c's files for Llama 3, whose tokens have 32 bits.
    private static let wideMagic: UInt32 = 20_240_801

    /// The largest vocabulary whose tokens fit in 16 bits.
    public static let maximumVocabulary = 1 << 16

    /// The number of tokens.
    public let count: Int
    /// Tokens are less.
    public let vocabulary: Int
    /// The CRC-32 of the file's size, as eight bytes, little-endian, and of up to 64 blocks of 16 KiB: all of the file where that
    /// is enough, or else blocks at equal distances, the first and the last included. It tells one data set from another, which is
    /// what workers, or a run and its checkpoint, are compared by; it is no proof that two files are the same.
    public let checksum: UInt32

    private let file: InputFile
    private let dataOffset: Int

    /// The file's path.
    public var path: String { file.path }

    /// - Throws: a `DatasetError` for a file that cannot be read, is of another kind, or does not have the size that it announces.
    public init(_ path: String, vocabulary: Int) throws(DatasetError) {
        precondition(vocabulary >= 1 && vocabulary <= TokenFile.maximumVocabulary, "a vocabulary of \(vocabulary)")
        let file = try InputFile(path: path)
        let header = try TokenFile.bytes(of: file, at: 0, count: min(12, file.byteCount))
        let words = stride(from: 0, to: header.count / 4 * 4, by: 4).map { offset in
            header[offset..<offset + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        }
        if words.first == TokenFile.wideMagic {
            throw .notTokens(path: path, reason: "its tokens have 32 bits (llm.c's format for Llama 3), and only 16 are read")
        }
        let hasHeader = words.first == TokenFile.magic
        dataOffset = hasHeader ? TokenFile.headerBytes : 0
        if hasHeader {
            guard words.count == 3, file.byteCount >= TokenFile.headerBytes else {
                throw .truncated(path: path, expected: TokenFile.headerBytes, found: file.byteCount)
            }
            guard words[1] == TokenFile.version else {
                throw .notTokens(path: path, reason: "it has version \(words[1]) of llm.c's format, and only version 1 is read")
            }
            let expected = TokenFile.headerBytes + 2 * Int(words[2])
            if file.byteCount < expected { throw .truncated(path: path, expected: expected, found: file.byteCount) }
            if file.byteCount > expected { throw .trailingBytes(path: path, expected: expected) }
        } else if !file.byteCount.isMultiple(of: 2) {
            throw .notTokens(path: path, reason: "its \(file.byteCount) bytes are not whole tokens of 16 bits")
        }
        count = (file.byteCount - dataOffset) / 2
        checksum = try TokenFile.checksum(of: file)
        self.file = file
        self.vocabulary = vocabulary
    }

    /// All of the file as consecutive windows, the same in every epoch: for evaluation.
    ///
    /// - Throws: `DatasetError.tooFewTokens` or `.context`.
    public func windows(context: Int) throws(DatasetError) -> TokenWindows {
        try windows(0..<count, context: context, phases: .none)
    }

    func windows(_ range: Range<Int>, context: Int, phases: TokenWindows.Phases) throws(DatasetError) -> TokenWindows {
        guard context >= 1, context <= TokenWindows.maximumContext else {
            throw .context(context, limit: TokenWindows.maximumContext)
        }
        let needed = TokenWindows.neededTokens(context: context, phases: phases)
        guard range.count >= needed else {
            throw .tooFewTokens(path: path, tokens: range.count, context: context, needed: needed)
        }
        return TokenWindows(tokens: self, range: range, context: context, phases: phases)
    }

    private static let checkedBlocks = 64
    private static let blockBytes = 16 * 1024

    private static func checksum(of file: InputFile) throws(DatasetError) -> UInt32 {
        let size = file.byteCount
        var checksum = Checksum.crc32((0..<8).map { UInt8(truncatingIfNeeded: size >> (8 * $0)) }[...])
        let blocks = min(checkedBlocks, (size + blockBytes - 1) / blockBytes)
        for index in 0..<blocks {
            let isWhole = size <= checkedBlocks * blockBytes
            // The product is at most 2^69 for the largest file there can be: divided first, and the rest apart.
            let room = size - blockBytes
            let offset = isWhole ? index * blockBytes : room / (blocks - 1) * index + room % (blocks - 1) * index / (blocks - 1)
            let block = try bytes(of: file, at: offset, count: min(blockBytes, size - offset))
            checksum = Checksum.crc32(block[...], continuing: checksum)
        }
        return checksum
    }

    /// Exactly these bytes.
    private static func bytes(of file: InputFile, at offset: Int, count: Int) throws(DatasetError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try bytes.withUnsafeMutableBufferPointer { (buffer) throws(DatasetError) in
            try read(file, at: offset, into: UnsafeMutableRawBufferPointer(buffer))
        }
        return bytes
    }

    private static func read(
        _ file: InputFile, at offset: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(DatasetError) {
        var filled = 0
        while filled < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
            let count = try file.read(at: offset + filled, into: rest)
            guard count > 0 else { throw .truncated(path: file.path, expected: file.byteCount, found: offset + filled) }
            filled += count
        }
    }
}

extension TokenFile: TokenSource {
    func append(_ range: Range<Int>, to array: inout [Int32]) throws(DatasetError) {
        let bytes = try TokenFile.bytes(of: file, at: dataOffset + 2 * range.lowerBound, count: 2 * range.count)
        for index in range {
            let place = 2 * (index - range.lowerBound)
            let token = Int(bytes[place]) | Int(bytes[place + 1]) << 8
            guard token < vocabulary else {
                throw .tokenOutOfRange(path: path, index: index, token: token, vocabulary: vocabulary)
            }
            array.append(Int32(token))
        }
    }
}
