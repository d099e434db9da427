/// Any UTF-8 text as a data set of characters, with the vocabulary taken from the text itself.
///
/// The first 90 % of the characters (rounded down) are for training, the rest for validation. The text is read once, in
/// pieces, and kept as two bytes a character.
public struct CharacterText: Sendable {
    /// The distinct characters of the whole text, validation included, in the order of their code points.
    public let vocabulary: CharacterVocabulary
    /// Windows of the first 90 %, with another phase in each epoch.
    public let training: TokenWindows
    /// Windows of the last 10 %, the same in each epoch.
    public let validation: TokenWindows
    /// The CRC-32 of the file. Workers, or a run and its checkpoint, whose checksums differ have not got the same data.
    public let checksum: UInt32

    /// - Parameters:
    ///   - file: the path of the text.
    ///   - context: the number of characters in a window, from 1 to `TokenWindows.maximumContext`.
    ///   - seed: the run's seed, from which the phase of each epoch is drawn.
    /// - Throws: a `DatasetError` for a file that cannot be read, is not UTF-8, or is too short.
    public init(file: String, context: Int, seed: UInt64) throws(DatasetError) {
        guard context >= 1, context <= TokenWindows.maximumContext else {
            throw .context(context, limit: TokenWindows.maximumContext)
        }
        let (tokens, vocabulary, checksum) = try CharacterText.read(file)
        let split = CharacterText.trainingCount(of: tokens.count)
        let needed = CharacterText.neededCount(context: context)
        guard tokens.count >= needed else {
            throw .textTooShort(path: file, characters: tokens.count, context: context, needed: needed)
        }
        self.vocabulary = vocabulary
        self.checksum = checksum
        training = TokenWindows(tokens: tokens, range: 0..<split, context: context, phases: .drawn(seed: seed))
        validation = TokenWindows(tokens: tokens, range: split..<tokens.count, context: context, phases: .none)
    }

    /// How many of `count` characters are for training: 90 %, rounded down, with no product that could overflow.
    private static func trainingCount(of count: Int) -> Int {
        count / 10 * 9 + count % 10 * 9 / 10
    }

    /// The shortest text that fills a training and a validation window: of 10 T + 1 characters, a tenth rounded up is
    /// T + 1, one validation window and its last target; the other 9 T are more than the 2 T that training needs.
    private static func neededCount(context: Int) -> Int {
        10 * context + 1
    }

    /// One pass over the file: characters are numbered as they first occur, and renumbered by code point at the end.
    private static func read(_ path: String) throws(DatasetError) -> (
        tokens: [UInt16], vocabulary: CharacterVocabulary, checksum: UInt32
    ) {
        let file = try InputFile(path: path)
        var numbers = [Int32](repeating: -1, count: 0x11_0000)
        var scalars: [Unicode.Scalar] = []
        var tokens: [UInt16] = []
        var reader = UTF8Reader()
        var piece = [UInt8](repeating: 0, count: 1 << 18)
        var offset = 0
        var checksum: UInt32 = 0
        while true {
            let count = try piece.withUnsafeMutableBufferPointer { (buffer) throws(DatasetError) in
                try file.read(at: offset, into: UnsafeMutableRawBufferPointer(buffer))
            }
            if count == 0 { break }
            checksum = Checksum.crc32(piece[..<count], continuing: checksum)
            for index in 0..<count {
                switch reader.read(piece[index]) {
                case .incomplete: continue
                case .invalid: throw .invalidUTF8(path: path, byteOffset: offset + index)
                case .scalar(let scalar):
                    var number = numbers[Int(scalar.value)]
                    if number < 0 {
                        guard scalars.count < CharacterVocabulary.maximumCount else {
                            throw .tooManyCharacters(path: path, limit: CharacterVocabulary.maximumCount)
                        }
                        number = Int32(scalars.count)
                        numbers[Int(scalar.value)] = number
                        scalars.append(scalar)
                    }
                    tokens.append(UInt16(number))
                }
            }
            offset += count
        }
        if reader.isIncomplete { throw .invalidUTF8(path: path, byteOffset: offset) }

        let order = scalars.indices.sorted { scalars[$0] < scalars[$1] }
        var renumbered = [UInt16](repeating: 0, count: scalars.count)
        for (token, number) in order.enumerated() { renumbered[number] = UInt16(token) }
        for index in tokens.indices { tokens[index] = renumbered[Int(tokens[index])] }
        return (tokens, CharacterVocabulary(sorted: order.map { scalars[$0] }), checksum)
    }
}

extension TokenWindows {
    /// A whole text as consecutive windows, with a vocabulary that comes from elsewhere: for evaluation.
    ///
    /// - Throws: a `DatasetError` for a file that cannot be read, is not UTF-8, is too short, or has a character that the vocabulary
    ///   lacks.
    public init(text path: String, vocabulary: CharacterVocabulary, context: Int) throws(DatasetError) {
        guard context >= 1, context <= TokenWindows.maximumContext else {
            throw .context(context, limit: TokenWindows.maximumContext)
        }
        let file = try InputFile(path: path)
        var tokens: [UInt16] = []
        var reader = UTF8Reader()
        var piece = [UInt8](repeating: 0, count: 1 << 18)
        var offset = 0
        while true {
            let count = try piece.withUnsafeMutableBufferPointer { (buffer) throws(DatasetError) in
                try file.read(at: offset, into: UnsafeMutableRawBufferPointer(buffer))
            }
            if count == 0 { break }
            for index in 0..<count {
                switch reader.read(piece[index]) {
                case .incomplete: continue
                case .invalid: throw .invalidUTF8(path: path, byteOffset: offset + index)
                case .scalar(let scalar):
                    guard let token = vocabulary.token(of: scalar) else { throw .unknownCharacter(scalar, index: tokens.count) }
                    tokens.append(UInt16(token))
                }
            }
            offset += count
        }
        if reader.isIncomplete { throw .invalidUTF8(path: path, byteOffset: offset) }
        guard tokens.count > context else {
            throw .textTooShort(path: path, characters: tokens.count, context: context, needed: context + 1)
        }
        self.init(tokens: tokens, range: 0..<tokens.count, context: context, phases: .none)
    }
}
