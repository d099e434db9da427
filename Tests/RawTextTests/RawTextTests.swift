import Glibc
import RawText
import Testing

@Suite struct RawTextTests {
    private func bytesLent(_ text: String) -> [UInt8] {
        text.withFileName { start in (0..<strlen(start)).map { UInt8(bitPattern: start[$0]) } }
    }

    @Test func everyByteAndEveryPairComesBack() {
        for first in UInt8.min...UInt8.max {
            #expect(RawText.bytes(RawText.string([first])) == [first])
            for second in UInt8.min...UInt8.max {
                let bytes = [UInt8(ascii: "/"), first, second, UInt8(ascii: "a")]
                let text = RawText.string(bytes)
                guard RawText.bytes(text) == bytes else { Issue.record("\(bytes)"); return }
            }
        }
    }

    @Test func textIsLeftAsItIs() {
        for text in ["", "abc", "grüße/日本語/🦓", "e\u{301}", "/\u{338}x", "a\r\nb", "\u{10FF7F}", "\u{FFFD}", "\u{10FFFF}".unicodeScalars.isEmpty ? "" : "x"] {
            #expect(Array(RawText.string(Array(text.utf8)).utf8) == Array(text.utf8))
            #expect(RawText.bytes(text) == Array(text.utf8) && bytesLent(text) == Array(text.utf8))
            #expect(!RawText.hasEscapes(text))
        }
    }

    /// What bytes are kept as may itself be in a name: its bytes come back all the same.
    @Test func theEscapesThemselvesComeBack() {
        for scalar in 0x10_FF70...0x10_FFFF as ClosedRange<UInt32> {
            let bytes = Unicode.Scalar(scalar).flatMap { UTF8.encode($0) }.map(Array.init) ?? []
            #expect(bytes.count == 4 && RawText.bytes(RawText.string(bytes)) == bytes)
        }
    }

    /// Different bytes are different strings, and what is damaged or cut short is kept.
    @Test func randomBytesComeBack() {
        var random = SystemRandomNumberGenerator()
        // By code units: strings that Unicode holds for the same are not the same file.
        var seen: [[UInt8]: [UInt8]] = [:]
        for _ in 0..<20_000 {
            let alphabet: [UInt8] = [0x2F, 0x61, 0x80, 0xBF, 0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xED, 0xA0, 0xF0, 0x9F, 0xF4, 0x8F, 0xFF, 0xC0]
            let bytes = (0..<Int.random(in: 1...6, using: &random)).map { _ in alphabet.randomElement(using: &random) ?? 0x61 }
            let text = RawText.string(bytes)
            #expect(RawText.bytes(text) == bytes && bytesLent(text) == bytes)
            #expect(seen.updateValue(bytes, forKey: Array(text.utf8)).map { $0 == bytes } ?? true)
        }
    }
}
