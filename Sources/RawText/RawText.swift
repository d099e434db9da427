/// Names of files and arguments as the bytes that they are, in a `String`.
///
/// A path on Linux is any bytes but 0, and Swift's strings are UTF-8: reading other bytes as a string repairs them, and then names
/// another file. Here each byte that is not part of valid UTF-8 becomes one character of the end of the last private plane, U+10FF80 for
/// 0x80 to U+10FFFF for 0xFF, and becomes that byte again where the string goes back to the system. UTF-8 stays as it is, but for
/// those characters themselves, whose bytes are kept in the same way: so every sequence of bytes has a string of its own. (Python
/// does the same with surrogates, PEP 383, which Swift's strings cannot hold.)
public enum RawText {
    private static let escapes: ClosedRange<UInt32> = 0x10_FF80...0x10_FFFF

    /// The string of some bytes.
    public static func string(_ bytes: some Sequence<UInt8>) -> String {
        let bytes = Array(bytes)
        if let text = String(validating: bytes, as: UTF8.self), !hasEscapes(text) { return text }
        var scalars = String.UnicodeScalarView()
        var index = 0
        while index < bytes.count {
            let count = length(first: bytes[index])
            let end = index + count
            if count > 0, end <= bytes.count, let text = String(validating: bytes[index..<end], as: UTF8.self), !hasEscapes(text) {
                scalars.append(contentsOf: text.unicodeScalars)
                index = end
            } else {
                scalars.append(Unicode.Scalar(0x10_FF00 + UInt32(bytes[index])) ?? "?")
                index += 1
            }
        }
        return String(scalars)
    }

    /// The bytes of a string.
    public static func bytes(_ text: String) -> [UInt8] {
        guard hasEscapes(text) else { return Array(text.utf8) }
        var bytes: [UInt8] = []
        for scalar in text.unicodeScalars {
            if escapes.contains(scalar.value) {
                bytes.append(UInt8(truncatingIfNeeded: scalar.value))
            } else {
                bytes.append(contentsOf: UTF8.encode(scalar).map(Array.init) ?? [])
            }
        }
        return bytes
    }

    /// Whether a string stands for bytes that are not UTF-8.
    public static func hasEscapes(_ text: String) -> Bool {
        // All of them begin with this byte.
        text.utf8.contains(0xF4) && text.unicodeScalars.contains { escapes.contains($0.value) }
    }

    /// This process's arguments, the program's name among them.
    public static func arguments() -> [String] {
        (0..<Int(CommandLine.argc)).compactMap { index in
            CommandLine.unsafeArgv[index].map { start in
                // SAFETY: the C strings of main's arguments live as long as the process.
                var bytes: [UInt8] = []
                var next = start
                while next.pointee != 0 {
                    bytes.append(UInt8(bitPattern: next.pointee))
                    next += 1
                }
                return string(bytes)
            }
        }
    }

    /// How many bytes a character has whose first byte this is; 0 if none begins so. ASCII is not escaped, whatever follows.
    private static func length(first byte: UInt8) -> Int {
        switch byte {
        case 0..<0x80: 1
        case 0xC2...0xDF: 2
        case 0xE0...0xEF: 3
        case 0xF0...0xF4: 4
        default: 0
        }
    }
}

extension String {
    /// Lends the bytes that this string stands for, as a C string: what a system call is to be given for a path.
    public func withFileName<Result>(_ body: (UnsafePointer<CChar>) throws -> Result) rethrows -> Result {
        guard RawText.hasEscapes(self) else { return try withCString(body) }
        let bytes = RawText.bytes(self).map { CChar(bitPattern: $0) } + [0]
        return try bytes.withUnsafeBufferPointer { buffer in
            guard let start = buffer.baseAddress else { return try "".withCString(body) }
            return try body(start)
        }
    }
}
