import Datasets
import Testing

struct CharacterTextTests {
    private let directory = TemporaryDirectory()

    private func text(_ text: String, context: Int, seed: UInt64 = 7) throws(DatasetError) -> CharacterText {
        try CharacterText(file: directory.write("text", Array(text.utf8)), context: context, seed: seed)
    }

    /// The digits of a counter, so that a window shows where it begins.
    private func counting(_ count: Int) -> String {
        String(String.UnicodeScalarView((0..<count).map { Unicode.Scalar(0x100 + UInt32($0))! }))
    }

    @Test func theVocabularyIsSortedByCodePoint() throws {
        let text = try text("zebra 🦓 élan\nZ" + String(repeating: "a", count: 30), context: 2)
        #expect(text.vocabulary.characters == ["\n", " ", "Z", "a", "b", "e", "l", "n", "r", "z", "é", "🦓"])
        #expect(text.vocabulary.count == 12)
        #expect(try text.vocabulary.encode("Zé🦓\n") == [2, 10, 11, 0])
        #expect(text.vocabulary.decode([2, 10, 11, 0]) == "Zé🦓\n")
        #expect(throws: DatasetError.unknownCharacter("q", index: 2)) { try text.vocabulary.encode("abq") }
        #expect(try CharacterVocabulary(characters: text.vocabulary.characters) == text.vocabulary)
    }

    @Test func theChecksumIsTheFiles() throws {
        // Python's zlib.crc32(b"123456789123456789").
        #expect(try text("123456789123456789", context: 1).checksum == 0x4B83_7AE4)
    }

    @Test func combiningCharactersAndLineEndsStayApart() throws {
        let text = try text("e\u{301}\r\n" + String(repeating: "x", count: 30), context: 1)
        #expect(text.vocabulary.characters == ["\n", "\r", "e", "x", "\u{301}"])
        let tokens = try text.vocabulary.encode("e\u{301}\r\n")
        #expect(tokens == [2, 4, 1, 0])
        #expect(Array(text.vocabulary.decode(tokens).unicodeScalars) == ["e", "\u{301}", "\r", "\n"])
    }

    @Test(arguments: [["b", "a"], ["a", "a"], ["ab"], [""], ["e\u{301}"]])
    func badVocabularies(characters: [String]) {
        #expect(throws: DatasetError.self) { try CharacterVocabulary(characters: characters) }
    }

    @Test func emptyVocabulary() throws {
        #expect(try CharacterVocabulary(characters: []).count == 0)
    }

    @Test(arguments: [11, 12, 19, 20, 21, 100, 101, 109, 999], [1, 2, 3, 7, 10])
    func everyTokenIsATargetAtMostOnceAnEpoch(count: Int, context: Int) throws {
        guard count > 10 * context else { return }
        let text = try text(counting(count), context: context)
        let training = text.training
        let split = count * 9 / 10
        #expect(training.count == (split - context) / context)
        #expect(training.itemsPerSample == context)
        for epoch in 0..<20 {
            let batch = try training.batch(epoch: epoch, Array(0..<training.count))
            #expect(batch.count == training.count && batch.context == context)
            let phase = Int(batch.tokens[0])
            #expect((0..<context).contains(phase))
            #expect(batch.tokens.map(Int.init) == Array(phase..<phase + training.count * context))
            #expect(batch.targets.map(Int.init) == Array(phase + 1...phase + training.count * context))
            #expect(Int(batch.targets.last!) < split, "validation text in training")
            // What sits out are the ends.
            #expect(split - 1 - training.count * context < 2 * context)
        }
    }

    @Test(arguments: [11, 12, 20, 21, 30, 100, 101, 999], [1, 2, 3, 7])
    func validationIsTheLastTenth(count: Int, context: Int) throws {
        guard count > 10 * context else { return }
        let validation = try text(counting(count), context: context).validation
        let split = count * 9 / 10
        #expect(validation.count == (count - split - 1) / context)
        for epoch in 0..<2 {
            let batch = try validation.batch(epoch: epoch, Array(0..<validation.count))
            #expect(batch.tokens.map(Int.init) == Array(split..<split + validation.count * context))
            #expect(batch.targets == batch.tokens.map { $0 + 1 })
        }
    }

    @Test func phasesDependOnSeedAndEpochOnly() throws {
        let first = try text(counting(1000), context: 64, seed: 7).training
        // Made by scripts/golden-sample-order.py.
        #expect(try (0..<5).map { try first.batch(epoch: $0, [0]).tokens[0] } == [5, 62, 27, 61, 38])
        let other = try text(counting(1000), context: 64, seed: 8).training
        #expect(try (0..<5).map { try other.batch(epoch: $0, [0]).tokens[0] } != [5, 62, 27, 61, 38])
        // Samples of a batch stand in the order asked for.
        let batch = try first.batch(epoch: 0, [3, 1])
        #expect(batch.tokens[0] == 197)
        #expect(batch.tokens[64] == 69)
    }

    @Test(arguments: [0, 1, 9, 10, 640]) func tooShort(count: Int) {
        let path = "\(directory.path)/text"
        let context = max(1, count / 10)
        let error = DatasetError.textTooShort(path: path, characters: count, context: context, needed: context * 10 + 1)
        #expect(throws: error) { try text(counting(count), context: context) }
        #expect(throws: Never.self) { try text(counting(10 * context + 1), context: context) }
    }

    @Test(arguments: [0, -1, TokenWindows.maximumContext + 1, Int.max]) func impossibleContexts(context: Int) {
        let error = DatasetError.context(context, limit: TokenWindows.maximumContext)
        #expect(throws: error) { try text("text", context: context) }
    }

    @Test(arguments: [
        ([0x80], 0), ([0x61, 0xC0, 0xAF], 1), ([0xC1, 0xBF], 0), ([0xC3], 1), ([0xC3, 0x28], 1), ([0xE0, 0x9F, 0x80], 1),
        ([0xE2, 0x82], 2), ([0xED, 0xA0, 0x80], 1), ([0xF0, 0x8F, 0xBF, 0xBF], 1), ([0xF4, 0x90, 0x80, 0x80], 1),
        ([0xF5, 0x80, 0x80, 0x80], 0), ([0xF0, 0x9F, 0xA6], 3), ([0xE2, 0x82, 0x61], 2), ([0xFF], 0),
    ] as [([UInt8], Int)])
    func invalidUTF8(bytes: [UInt8], offset: Int) {
        let prefix = Array("text \u{10FFFF}\u{E000}\u{D7FF}".utf8)
        let path = directory.write("text", prefix + bytes)
        #expect(throws: DatasetError.invalidUTF8(path: path, byteOffset: prefix.count + offset)) {
            try CharacterText(file: path, context: 1, seed: 0)
        }
    }

    /// Characters that straddle the pieces in which the file is read.
    @Test func longTexts() throws {
        let line = "aé€🦓"
        let text = try text("b" + String(repeating: line, count: 60_000), context: 4)
        #expect(text.training.count == (240_001 * 9 / 10 - 4) / 4)
        let batch = try text.validation.batch(epoch: 0, Array(0..<text.validation.count))
        #expect(text.vocabulary.decode(Array(batch.tokens[..<8])) == "🦓aé€🦓aé€")
    }

    @Test func aMissingFile() {
        #expect(throws: DatasetError.system(operation: "open", path: "/nonexistent", errno: 2)) {
            try CharacterText(file: "/nonexistent", context: 1, seed: 0)
        }
        #expect(throws: DatasetError.notAFile(path: "/tmp")) { try CharacterText(file: "/tmp", context: 1, seed: 0) }
    }
}
