import COpenSSL

/// The job's secret: 256 random bits that every worker of a job knows and nobody else.
///
/// It never travels: peers prove that they know it (`Handshake`). Workers get it in the environment as
/// `LOCKSTEP_SECRET`, 64 hexadecimal digits, never on a command line, where `ps` would show it.
public struct Secret: Sendable, Equatable {
    private let key: [UInt8]

    /// The bytes of a secret.
    public static let byteCount = 32

    /// A new secret from the system's random source.
    public static func random() throws(WireError) -> Secret {
        Secret(key: try randomBytes(byteCount))
    }

    /// Reads 64 hexadecimal digits, of either case.
    public init(hexadecimal: String) throws(WireError) {
        let digits = Array(hexadecimal.utf8)
        guard digits.count == 2 * Secret.byteCount else { throw .malformedSecret }
        var key: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = Secret.value(ofDigit: digits[index]), let low = Secret.value(ofDigit: digits[index + 1])
            else { throw .malformedSecret }
            key.append(high << 4 | low)
        }
        self.key = key
    }

    private init(key: [UInt8]) {
        self.key = key
    }

    /// 64 digits, lower case.
    public var hexadecimal: String {
        key.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// HMAC-SHA256 under this secret of a label and a message; the label keeps the uses of one key apart.
    func authenticationCode(label: String, message: [UInt8]) -> [UInt8] {
        let input = Array(label.utf8) + [0] + message
        var code = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
        var length: UInt32 = 0
        // SAFETY: HMAC reads `key` and `input` within their counts and writes 32 bytes into `code`, all alive here.
        let result = HMAC(EVP_sha256(), key, Int32(key.count), input, input.count, &code, &length)
        precondition(result != nil && length == UInt32(code.count), "HMAC-SHA256 is not available in OpenSSL")
        return code
    }

    /// Names the job without telling the secret, so that a stray worker of another job is told apart from an attacker.
    var jobIdentifier: [UInt8] {
        Array(authenticationCode(label: "job", message: []).prefix(16))
    }

    static func randomBytes(_ count: Int) throws(WireError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        guard RAND_bytes(&bytes, Int32(count)) == 1 else { throw .noRandomness }
        return bytes
    }

    private static func value(ofDigit digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

/// Compares without telling by its duration where two codes differ.
func constantTimeEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    left.count == right.count && CRYPTO_memcmp(left, right, left.count) == 0
}
