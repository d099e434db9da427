import Glibc

/// Cuts a stream of bytes into lines. Pure: chunks in, lines out, in any chunking the same lines.
///
/// A line is what stands before a newline; the newline itself is not part of it. A line longer than `longestLine` bytes is
/// handed out in pieces of at most that length, cut between UTF-8 characters where that is possible. Whole lines inside a
/// chunk are lent from the chunk itself, without a copy.
package struct LineSplitter {
    package let longestLine: Int
    /// The begun line; never longer than `longestLine`.
    private var begun: [UInt8] = []

    package init(longestLine: Int = 64 << 10) {
        precondition(longestLine >= 4, "a line must have room for one UTF-8 character")
        self.longestLine = longestLine
    }

    /// Takes the next bytes and calls `line` for each line that they complete; the memory is valid during the call.
    package mutating func append(_ chunk: UnsafeRawBufferPointer, line: (UnsafeRawBufferPointer) -> Void) {
        var rest = chunk
        while let base = rest.baseAddress, let newline = memchr(base, Int32(UInt8(ascii: "\n")), rest.count) {
            let length = UnsafeRawPointer(newline) - base
            deliver(UnsafeRawBufferPointer(rebasing: rest[..<length]), line)
            rest = UnsafeRawBufferPointer(rebasing: rest[(length + 1)...])
        }
        begin(rest, line)
    }

    /// The stream has ended: hands out the begun line, if there is one.
    package mutating func finish(line: (UnsafeRawBufferPointer) -> Void) {
        guard !begun.isEmpty else { return }
        begun.withUnsafeBytes(line)
        begun = []
    }

    /// The end of a line has come: `tail` follows what has begun.
    private mutating func deliver(_ tail: UnsafeRawBufferPointer, _ line: (UnsafeRawBufferPointer) -> Void) {
        if begun.isEmpty && tail.count <= longestLine { return line(tail) }
        begin(tail, line)
        begun.withUnsafeBytes(line)
        begun.removeAll(keepingCapacity: true)
    }

    /// Adds to the begun line, handing out pieces of the greatest length for as long as there is more than one.
    private mutating func begin(_ bytes: UnsafeRawBufferPointer, _ line: (UnsafeRawBufferPointer) -> Void) {
        var rest = bytes[...]
        while begun.count + rest.count > longestLine {
            let room = longestLine - begun.count
            begun.append(contentsOf: rest.prefix(room))
            rest = rest.dropFirst(room)
            let cut = characterBoundary(nextByte: rest.first!)
            begun.withUnsafeBytes { line(UnsafeRawBufferPointer(rebasing: $0[..<cut])) }
            begun.removeFirst(cut)
        }
        begun.append(contentsOf: rest)
    }

    /// Where to cut a full line that goes on with `nextByte`, so that no character of at most four bytes is torn.
    private func characterBoundary(nextByte: UInt8) -> Int {
        func continues(_ byte: UInt8) -> Bool { byte & 0xC0 == 0x80 }
        guard continues(nextByte) else { return begun.count }
        var cut = begun.count
        while cut > begun.count - 3 && continues(begun[cut - 1]) { cut -= 1 }
        // Bytes that are no UTF-8 at all are cut where they are: a piece must never be empty.
        return begun[cut - 1] >= 0xC0 && cut > 1 ? cut - 1 : begun.count
    }
}
