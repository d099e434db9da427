import Testing
import Wire

@Suite struct SecretTests {
    @Test func hexadecimalRoundTrip() throws {
        let secret = try Secret.random()
        #expect(secret.hexadecimal.utf8.count == 64)
        #expect(try Secret(hexadecimal: secret.hexadecimal) == secret)
        #expect(try Secret(hexadecimal: secret.hexadecimal.uppercased()) == secret)
        #expect(try Secret.random() != secret)
    }

    @Test(arguments: ["", "00", String(repeating: "0", count: 63), String(repeating: "g", count: 64), String(repeating: "0", count: 65)])
    func otherTextIsRefused(text: String) {
        #expect(throws: WireError.malformedSecret) { try Secret(hexadecimal: text) }
    }
}
