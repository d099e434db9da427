import COpenSSL

/// A SHA-256 digest.
public struct Digest: Sendable, Hashable, CustomStringConvertible {
    /// 32 bytes.
    public let bytes: [UInt8]

    init(bytes: [UInt8]) {
        precondition(bytes.count == SHA256.digestBytes, "a digest of \(bytes.count) bytes")
        self.bytes = bytes
    }

    /// The digest that 64 hexadecimal digits spell, or nil if that is not what they are.
    public init?(hex: String) {
        let digits = hex.utf8.compactMap { Character(Unicode.Scalar($0)).hexDigitValue }
        guard digits.count == 2 * SHA256.digestBytes, digits.count == hex.utf8.count else { return nil }
        bytes = stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    /// 64 lower-case hexadecimal digits.
    public var hex: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    /// The same as `hex`.
    public var description: String { hex }

    /// The digest of bytes that are at hand.
    public static func of(_ bytes: some Sequence<UInt8>) -> Digest {
        let hash = SHA256()
        Array(bytes).withUnsafeBytes { hash.update($0) }
        return hash.digest()
    }
}

/// SHA-256 of bytes that come piece by piece, by OpenSSL, which uses the CPU's SHA instructions where there are any.
///
/// Used by one thread at a time. Source: FIPS 180-4; OpenSSL's EVP_DigestInit(3).
public struct SHA256: ~Copyable {
    static let digestBytes = 32

    private let context: OpaquePointer

    /// A digest of nothing yet.
    public init() {
        context = EVP_MD_CTX_new()
        let status = EVP_DigestInit_ex(context, EVP_sha256(), nil)
        precondition(status == 1, "OpenSSL offers no SHA-256")
    }

    deinit {
        EVP_MD_CTX_free(context)
    }

    /// Takes in some more bytes.
    public borrowing func update(_ bytes: UnsafeRawBufferPointer) {
        // SAFETY: OpenSSL reads `bytes.count` bytes during the call and keeps no pointer.
        let status = EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
        precondition(status == 1, "EVP_DigestUpdate failed")
    }

    /// Takes in a string's UTF-8.
    public borrowing func update(_ text: String) {
        var text = text
        text.withUTF8 { update(UnsafeRawBufferPointer($0)) }
    }

    /// Takes in a number as eight bytes, little-endian.
    public borrowing func update(_ number: Int) {
        withUnsafeBytes(of: UInt64(bitPattern: Int64(number)).littleEndian) { update($0) }
    }

    /// The digest of all that was taken in so far.
    public borrowing func digest() -> Digest {
        // Finishing uses a context up, so a copy is finished: there is no call after which this one must not be used.
        let copy = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(copy) }
        precondition(EVP_MD_CTX_copy_ex(copy, context) == 1, "EVP_MD_CTX_copy_ex failed")
        return Digest(
            bytes: [UInt8](unsafeUninitializedCapacity: SHA256.digestBytes) { buffer, count in
                // SAFETY: OpenSSL writes exactly 32 bytes for SHA-256, as many as there is room for.
                precondition(EVP_DigestFinal_ex(copy, buffer.baseAddress, nil) == 1, "EVP_DigestFinal_ex failed")
                count = SHA256.digestBytes
            })
    }
}
