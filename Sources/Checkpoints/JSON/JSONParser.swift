extension JSONValue {
    /// Reads JSON text. It is read strictly: whole, in well-formed UTF-8, with no name twice in an object (which other
    /// readers resolve in ways of their own), and no deeper than 64 levels.
    ///
    /// - Throws: `CheckpointError.invalidJSON` with the offset of the first fault.
    public init(parsing bytes: [UInt8]) throws(CheckpointError) {
        var parser = JSONParser(bytes: bytes)
        self = try parser.document()
    }
}

/// A recursive-descent reader of JSON. Source: RFC 8259.
private struct JSONParser {
    private static let greatestDepth = 64

    private let bytes: [UInt8]
    private var offset = 0

    init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    mutating func document() throws(CheckpointError) -> JSONValue {
        let value = try value(depth: 0)
        skipSpace()
        if offset < bytes.count { throw fault("something follows the value") }
        return value
    }

    private mutating func value(depth: Int) throws(CheckpointError) -> JSONValue {
        if depth > JSONParser.greatestDepth { throw fault("more than \(JSONParser.greatestDepth) levels") }
        skipSpace()
        guard let byte = peek() else { throw fault("the text ends where a value should be") }
        switch byte {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: throw fault("no value begins like this")
        }
    }

    private mutating func object(depth: Int) throws(CheckpointError) -> JSONValue {
        var members: [String: JSONValue] = [:]
        offset += 1
        skipSpace()
        if take("}") { return .object(members) }
        while true {
            skipSpace()
            let start = offset
            guard peek() == UInt8(ascii: "\"") else { throw fault("a name in quotes should be here") }
            let name = try string()
            skipSpace()
            guard take(":") else { throw fault("a colon should be here") }
            guard members.updateValue(try value(depth: depth + 1), forKey: name) == nil else {
                throw .invalidJSON(offset: start, reason: "the name \"\(name)\" occurs twice")
            }
            skipSpace()
            if take("}") { return .object(members) }
            guard take(",") else { throw fault("a comma or a closing brace should be here") }
        }
    }

    private mutating func array(depth: Int) throws(CheckpointError) -> JSONValue {
        var elements: [JSONValue] = []
        offset += 1
        skipSpace()
        if take("]") { return .array(elements) }
        while true {
            elements.append(try value(depth: depth + 1))
            skipSpace()
            if take("]") { return .array(elements) }
            guard take(",") else { throw fault("a comma or a closing bracket should be here") }
        }
    }

    private mutating func word(_ word: String, _ value: JSONValue) throws(CheckpointError) -> JSONValue {
        guard bytes[offset...].starts(with: word.utf8) else { throw fault("no value begins like this") }
        offset += word.utf8.count
        return value
    }

    private mutating func number() throws(CheckpointError) -> JSONValue {
        let start = offset
        var isInteger = true
        _ = take("-")
        if !take("0") { try digits() }
        if take(".") {
            isInteger = false
            try digits()
        }
        if take("e") || take("E") {
            isInteger = false
            if !take("+") { _ = take("-") }
            try digits()
        }
        let text = String(decoding: bytes[start..<offset], as: UTF8.self)
        if isInteger {
            if let number = Int(text) { return .integer(number) }
            if let number = UInt(text) { return .unsigned(number) }
        }
        guard let number = Double(text), number.isFinite else {
            throw .invalidJSON(offset: start, reason: "the number \(text.prefix(40)) is out of range")
        }
        return .double(number)
    }

    private mutating func digits() throws(CheckpointError) {
        let start = offset
        while let byte = peek(), (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { offset += 1 }
        if offset == start { throw fault("a digit should be here") }
    }

    private mutating func string() throws(CheckpointError) -> String {
        offset += 1
        let start = offset
        var decoded: [UInt8] = []
        while let byte = peek() {
            switch byte {
            case UInt8(ascii: "\""):
                offset += 1
                guard let string = String(validating: decoded, as: UTF8.self) else {
                    throw .invalidJSON(offset: start, reason: "the string is not UTF-8")
                }
                return string
            case UInt8(ascii: "\\"):
                offset += 1
                decoded += String(Character(try escape())).utf8
            case 0..<0x20:
                throw fault("a control character stands in a string")
            default:
                decoded.append(byte)
                offset += 1
            }
        }
        throw .invalidJSON(offset: start, reason: "the string does not end")
    }

    private mutating func escape() throws(CheckpointError) -> Unicode.Scalar {
        guard let byte = peek() else { throw fault("the text ends in a string") }
        offset += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let unit = try codeUnit()
            if let scalar = Unicode.Scalar(unit) { return scalar }
            guard unit < 0xDC00, take("\\"), take("u") else { throw fault("half of a surrogate pair") }
            let second = try codeUnit()
            guard (0xDC00...0xDFFF).contains(second) else { throw fault("half of a surrogate pair") }
            return Unicode.Scalar(0x10000 + (UInt32(unit) - 0xD800) << 10 + (UInt32(second) - 0xDC00))!
        default: throw fault("no escape sequence is like this")
        }
    }

    private mutating func codeUnit() throws(CheckpointError) -> UInt16 {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            guard let byte = peek(), let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw fault("a hexadecimal digit should be here")
            }
            unit = unit << 4 | UInt16(digit)
            offset += 1
        }
        return unit
    }

    private mutating func skipSpace() {
        while let byte = peek(), byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { offset += 1 }
    }

    private func peek() -> UInt8? {
        offset < bytes.count ? bytes[offset] : nil
    }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        guard peek() == UInt8(ascii: scalar) else { return false }
        offset += 1
        return true
    }

    private func fault(_ reason: String) -> CheckpointError {
        .invalidJSON(offset: offset, reason: reason)
    }
}
