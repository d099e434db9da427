/// The newest lines of an output, for the report of a failure. Keeps few, and of long ones only the start.
struct LastLines {
    static let count = 20
    static let bytesOfALine = 2000

    private var lines: [[UInt8]] = []
    /// Where the next line goes once there are `count`.
    private var oldest = 0

    mutating func append(_ line: UnsafeRawBufferPointer) {
        let kept = Array(line.prefix(LastLines.bytesOfALine))
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
