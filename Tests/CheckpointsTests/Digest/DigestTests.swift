import Checkpoints
import Testing

struct DigestTests {
    /// FIPS 180-4's examples.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
    ])
    func knownDigests(text: String, hex: String) {
        #expect(Digest.of(text.utf8).hex == hex)
        let hash = SHA256()
        for byte in text.utf8 { withUnsafeBytes(of: byte) { hash.update($0) } }
        #expect(hash.digest().hex == hex)
        #expect(hash.digest().hex == hex)
        #expect(Digest(hex: hex) == Digest.of(text.utf8))
    }

    @Test func digestsFromText() {
        let hex = Digest.of([]).hex
        #expect(Digest(hex: hex.uppercased())?.hex == hex)
        for text in ["", String(hex.dropLast()), hex + "0", "g" + hex.dropFirst(), "é" + hex.dropFirst(2)] {
            #expect(Digest(hex: text) == nil)
        }
    }

    @Test func theWeightsAndNothingElse() {
        let numbers: [Float] = [1, 2, 3, 4, 5, 6]
        numbers.withUnsafeBytes { bytes in
            func tensor(_ name: String, _ shape: [Int], _ type: StoredType = .float32) -> StoredTensor {
                StoredTensor(name: name, type: type, shape: shape, bytes: bytes)
            }
            let base = Digest.ofWeights([tensor("a", [6]), tensor("b", [2, 3])])
            #expect(Digest.ofWeights([tensor("b", [2, 3]), tensor("a", [6])]) == base)
            let others = [
                [tensor("a", [6])], [tensor("a", [6]), tensor("c", [2, 3])], [tensor("a", [6]), tensor("b", [3, 2])],
                [tensor("a", [6]), tensor("b", [2, 3], .int32)], [tensor("a", [6]), tensor("b", [1, 2, 3])],
                [tensor("a", [2, 3]), tensor("b", [6])], [],
            ].map(Digest.ofWeights)
            #expect(Set(others + [base]).count == others.count + 1)
        }
    }
}
