/// The newest lines of an output, for the report of a failure. Keeps few, of long ones only the start, and of progress
/// that was written over only what was left to be seen.
struct LastLines {
    static let count = 20
    static let bytesOfALine = 2000

    private var lines: [[UInt8]] = []
    /// Where the next line goes once there are `count`.
    private var oldest = 0

    mutating func append(_ line: UnsafeRawBufferPointer) {
        let carriageReturn = UInt8(ascii: "\r")
        let seen = line.split(separator: carriageReturn).last ?? line[line.endIndex...]
        let kept = Array(seen.prefix(LastLines.bytesOfALine))
        if lines.count < LastLines.count {
            lines.append(kept)
        } else {
            lines[oldest] = kept
            oldest = (oldest + 1) % LastLines.count
        }
    }

    var isEmpty: Bool { lines.isEmpty }

    /// Oldest first. Bytes that are no UTF-8 are shown as the replacement character.
    var text: [String] {
        (lines[oldest...] + lines[..<oldest]).map { String(decoding: $0, as: UTF8.self) }
    }
}
