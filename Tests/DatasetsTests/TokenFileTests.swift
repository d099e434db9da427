import Datasets
import Glibc
import TestSupport
import Testing

@Suite(.serialized) struct TokenFileTests {
    private let directory = TemporaryDirectory()

    private static func bytes(_ tokens: some Sequence<Int>) -> [UInt8] {
        tokens.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
    }

    /// llm.c's header.
    private static func header(_ count: Int, magic: UInt32 = 20_240_520, version: UInt32 = 1) -> [UInt8] {
        ([magic, version, UInt32(count)] + [UInt32](repeating: 0, count: 253)).flatMap { word in
            (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
        }
    }

    private func fault(_ bytes: [UInt8], vocabulary: Int = 100, context: Int = 2) -> DatasetError? {
        let path = directory.write("tokens.bin", bytes)
        do {
            let windows = try TokenFile(path, vocabulary: vocabulary).windows(context: context)
            _ = try windows.batch(epoch: 0, Array(0..<windows.count))
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: [false, true]) func windowsOfBothFormats(hasHeader: Bool) throws {
        let tokens = (0..<23).map { $0 * 2849 }
        let path = directory.write("tokens.bin", (hasHeader ? Self.header(23) : []) + Self.bytes(tokens))
        let file = try TokenFile(path, vocabulary: 1 << 16)
        #expect(file.count == 23)
        let windows = try file.windows(context: 4)
        #expect(windows.count == 5)
        let batch = try windows.batch(epoch: 3, [4, 0])
        #expect(batch.tokens == (tokens[16..<20] + tokens[0..<4]).map { Int32($0) })
        #expect(batch.targets == (tokens[17..<21] + tokens[1..<5]).map { Int32($0) })
    }

    @Test func oneFileIsSplitAndTwoAreNot() throws {
        let path = directory.write("train.bin", Self.bytes(0..<105))
        let other = directory.write("val.bin", Self.header(7) + Self.bytes(200..<207))
        let alone = try TokenText(file: path, validation: nil, vocabulary: 300, context: 3, seed: 5)
        #expect(alone.training.count == (94 - 3) / 3 && alone.validation.count == 10 / 3)
        #expect(try alone.validation.batch(epoch: 0, [0]).tokens == [94, 95, 96])
        #expect(alone.checksums.count == 1)
        let both = try TokenText(file: path, validation: other, vocabulary: 300, context: 3, seed: 5)
        #expect(both.training.count == (105 - 3) / 3 && both.validation.count == 2)
        #expect(try both.validation.batch(epoch: 0, [1]).targets == [204, 205, 206])
        #expect(both.checksums[0] == alone.checksums[0] && both.checksums.count == 2)
        // The windows are those of the same tokens in memory.
        let text = directory.write("text", Array(String(String.UnicodeScalarView((0..<105).map { Unicode.Scalar(256 + $0)! })).utf8))
        let characters = try CharacterText(file: text, context: 3, seed: 5)
        for epoch in 0..<4 {
            let samples = Array(0..<alone.training.count)
            #expect(try alone.training.batch(epoch: epoch, samples) == characters.training.batch(epoch: epoch, samples))
        }
    }

    @Test func faultsAreNamed() {
        let path = "\(directory.path)/tokens.bin"
        #expect(fault(Self.bytes(0..<5)) == nil)
        #expect(fault([]) == .tooFewTokens(path: path, tokens: 0, context: 2, needed: 3))
        #expect(fault(Self.bytes(0..<2)) == .tooFewTokens(path: path, tokens: 2, context: 2, needed: 3))
        #expect(fault([1, 0, 2]) == .notTokens(path: path, reason: "its 3 bytes are not whole tokens of 16 bits"))
        #expect(fault(Self.header(5) + Self.bytes(0..<4)) == .truncated(path: path, expected: 1034, found: 1032))
        #expect(fault(Self.header(3) + Self.bytes(0..<4)) == .trailingBytes(path: path, expected: 1030))
        #expect(fault(Array(Self.header(3).prefix(100))) == .truncated(path: path, expected: 1024, found: 100))
        #expect(fault(Array(Self.header(3).prefix(4))) == .truncated(path: path, expected: 1024, found: 4))
        #expect(fault(Self.header(0, version: 2))?.description.contains("version 2") == true)
        #expect(fault(Self.header(0, magic: 20_240_801, version: 7))?.description.contains("32 bits") == true)
        #expect(fault(Self.bytes([1, 2, 3, 100, 4])) == .tokenOutOfRange(path: path, index: 3, token: 100, vocabulary: 100))
        #expect(fault(Self.bytes([1, 2, 99])) == nil)
        #expect(fault(Self.bytes(0..<5), context: 0) == .context(0, limit: TokenWindows.maximumContext))
    }

    /// A file that is cut short behind the reader's back is an error and not a signal.
    @Test func aFileThatShrinksIsNamed() throws {
        let path = directory.write("tokens.bin", Self.bytes(0..<1000))
        let windows = try TokenFile(path, vocabulary: 1000).windows(context: 9)
        _ = try windows.batch(epoch: 0, [100])
        truncate(path, 1805)
        #expect(throws: DatasetError.truncated(path: path, expected: 2000, found: 1805)) { try windows.batch(epoch: 0, [100]) }
    }

    @Test func checksumsTellFilesApart() throws {
        func checksum(_ tokens: some Sequence<Int>) throws -> UInt32 {
            try TokenFile(directory.write("tokens.bin", Self.bytes(tokens)), vocabulary: 1 << 16).checksum
        }
        // Around one block and around 64 of them: every byte counts up to there, and first and last beyond.
        for count in [1, 8191, 8192, 8193, 524_287, 524_288, 524_289, 600_001] {
            let tokens = (0..<count).map { $0 * 7 % 65_536 }
            let expected = try checksum(tokens)
            #expect(try checksum(tokens) == expected)
            for place in Set([0, count - 1] + (count <= 524_288 ? [count / 2, count / 3] : [])) {
                var other = tokens
                other[place] ^= 1
                #expect(try checksum(other) != expected, "\(count) tokens, place \(place)")
            }
            #expect(try checksum(tokens + [0]) != expected)
        }
    }

    /// Ten gigabytes cost no more memory than ten megabytes.
    @Test func memoryDoesNotGrowWithTheFile() throws {
        let path = directory.write("tokens.bin", [])
        // Sparse: zeros that take no space. llm.c's count has 32 bits, so this one has no header.
        #expect(truncate(path, 10_000_000_000) == 0)
        // In a process of its own, whose memory no other test uses.
        let output = try #require(popen("'\(probePath())' tokens '\(path)'", "r"))
        var line = [CChar](repeating: 0, count: 256)
        fgets(&line, Int32(line.count), output)
        #expect(pclose(output) == 0)
        let words = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            .split(whereSeparator: \.isWhitespace)
        try #require(words.count == 4 && words[0] == "windows" && words[2] == "growth", "\(words)")
        #expect(Int(words[1]) == (4_500_000_000 - 1024) / 1024)
        // 48,000 windows would be 200 MB of pages if they stayed.
        #expect(try #require(Int(words[3])) < 16 << 20)
    }
}
