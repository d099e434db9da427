extension JSONValue {
    /// The value as JSON text, in UTF-8.
    ///
    /// Keys are in the order of their UTF-8 bytes. NaN and infinities, which JSON lacks, become null.
    /// - Parameter indented: over several lines with two spaces a level, for people to read; otherwise without any space.
    public func serialized(indented: Bool = false) -> String {
        var writer = JSONWriter(isIndented: indented)
        writer.write(self, level: 0)
        return writer.text
    }
}

/// Builds JSON text.
private struct JSONWriter {
    let isIndented: Bool
    var text = ""

    init(isIndented: Bool) {
        self.isIndented = isIndented
    }

    mutating func write(_ value: JSONValue, level: Int) {
        switch value {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let number): text += String(number)
        case .unsigned(let number): text += String(number)
        case .double(let number): text += number.isFinite ? number.description : "null"
        case .string(let string): write(string)
        case .array(let elements):
            writeList("[", elements, "]", level: level) { writer, element in
                writer.write(element, level: level + 1)
            }
        case .object(let members):
            let sorted = members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
            writeList("{", sorted, "}", level: level) { writer, member in
                writer.write(member.key)
                writer.text += writer.isIndented ? ": " : ":"
                writer.write(member.value, level: level + 1)
            }
        }
    }

    private mutating func writeList<Element>(
        _ open: String, _ elements: [Element], _ close: String, level: Int,
        _ write: (inout JSONWriter, Element) -> Void
    ) {
        text += open
        for (index, element) in elements.enumerated() {
            if index > 0 { text += "," }
            newLine(level + 1)
            write(&self, element)
        }
        if !elements.isEmpty { newLine(level) }
        text += close
    }

    private mutating func newLine(_ level: Int) {
        guard isIndented else { return }
        text += "\n" + String(repeating: "  ", count: level)
    }

    private mutating func write(_ string: String) {
        text += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case "\u{0}"..<"\u{20}":
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
