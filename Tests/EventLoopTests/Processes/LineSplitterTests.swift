import EventLoop
import Testing

/// The lines of `text` when it comes in chunks of `chunk` bytes.
private func lines(_ text: [UInt8], chunk: Int, longest: Int = 64 << 10) -> [[UInt8]] {
    var splitter = LineSplitter(longestLine: longest)
    var lines: [[UInt8]] = []
    var rest = text[...]
    while !rest.isEmpty {
        Array(rest.prefix(chunk)).withUnsafeBytes { splitter.append($0) { lines.append(Array($0)) } }
        rest = rest.dropFirst(chunk)
    }
    splitter.finish { lines.append(Array($0)) }
    splitter.finish { _ in Issue.record("finish gave the same line twice") }
    return lines
}

@Test(arguments: [1, 2, 3, 7, 1000])
func anyChunkingGivesTheSameLines(chunk: Int) {
    let text = "one\ntwo\n\nfour\r\nsix\n\n"
    #expect(
        lines(Array(text.utf8), chunk: chunk).map { String(decoding: $0, as: UTF8.self) }
            == ["one", "two", "", "four\r", "six", ""])
    #expect(lines(Array("no end".utf8), chunk: chunk) == [Array("no end".utf8)])
    #expect(lines([], chunk: chunk).isEmpty)
}

@Test(arguments: [1, 4, 5, 64], [9, 10, 11, 19, 20, 21, 1000])
func aLongLineComesInPieces(chunk: Int, length: Int) {
    let line = (0..<length).map { UInt8(ascii: "a") + UInt8($0 % 26) }
    let pieces = lines(line + [UInt8(ascii: "\n")] + Array("next\n".utf8), chunk: chunk, longest: 10)
    #expect(pieces.last == Array("next".utf8))
    #expect(pieces.dropLast().allSatisfy { !$0.isEmpty && $0.count <= 10 })
    #expect(pieces.count == 1 + (length + 9) / 10)
    #expect(Array(pieces.dropLast().joined()) == line)
}

@Test(arguments: ["é", "漢", "🧮"], 4...12)
func aCutNeverTearsACharacter(character: String, longest: Int) {
    let text = "x" + String(repeating: character, count: 50)
    for chunk in [1, 3, 100] {
        let pieces = lines(Array(text.utf8), chunk: chunk, longest: longest)
        #expect(pieces.allSatisfy { String(validating: $0, as: UTF8.self) != nil && $0.count <= longest })
        #expect(Array(pieces.joined()) == Array(text.utf8))
    }
}

@Test(arguments: [0x80, 0xBF, 0xC3, 0xF0, 0xFF] as [UInt8])
func bytesThatAreNoTextAreCutAnyway(byte: UInt8) {
    let text = Array(repeating: byte, count: 1001)
    let pieces = lines(text, chunk: 100, longest: 4)
    #expect(Array(pieces.joined()) == text && pieces.allSatisfy { !$0.isEmpty && $0.count <= 4 })
}
