import Testing
import Wire

@Suite struct FrameHeaderTests {
    private let header = FrameHeader(
        generation: 7, operation: 1 << 40, slice: 12345, hop: 3, signature: 0x0102, payloadBytes: 4096, elementCount: 1 << 33)

    private func bytes(of header: FrameHeader) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: FrameHeader.byteCount)
        bytes.withUnsafeMutableBytes { header.encode(into: $0.baseAddress!) }
        return bytes
    }

    private func decode(_ bytes: [UInt8], generation: UInt32 = 7, limit: Int = 4096) throws -> FrameHeader {
        try bytes.withUnsafeBytes {
            try FrameHeader(decoding: $0.baseAddress!, generation: generation, payloadLimit: limit)
        }
    }

    @Test func whatIsEncodedIsDecoded() throws {
        #expect(try decode(bytes(of: header)) == header)
    }

    @Test func theLayoutIsTheDocumentedOne() {
        let bytes = bytes(of: header)
        #expect(bytes[0...3] == [0x4C, 0x4B, 0x46, 0x52])
        #expect(bytes[4] == 7 && bytes[13] == 1 && bytes[16] == 0x39 && bytes[17] == 0x30)
        #expect(bytes[24] == 3 && bytes[26] == 2 && bytes[27] == 1 && bytes[29] == 0x10 && bytes[36] == 2)
    }

    @Test func whatDoesNotBelongIsRefused() throws {
        var stray = bytes(of: header)
        stray[0] = 0
        #expect(throws: WireError.wrongMagic(0x5246_4B00)) { try decode(stray) }
        #expect(throws: WireError.wrongGeneration(theirs: 7, ours: 8)) { try decode(bytes(of: header), generation: 8) }
        #expect(throws: WireError.frameTooLong(bytes: 4096, limit: 4095)) { try decode(bytes(of: header), limit: 4095) }
    }
}
