import Glibc

/// What is in a file that may be a metrics file, read from end to end: nothing of it is cut before all of it is known to be ours.
struct Records {
    /// The step of the last whole record; nil if there is none.
    private(set) var lastStep: Int?
    /// The same of the records that are kept.
    private(set) var lastKeptStep: Int?
    /// Where the records that are kept end.
    private(set) var keptBytes = 0

    /// A record is a few hundred bytes; a longer line needs no memory to be recognised as none.
    private static let greatestLine = 4096
    private static let start = Array("{\"step\":".utf8)
    /// What follows the step in every record, in this order. It tells a file of ours by its first record from others' logs, which may
    /// well have a step and a loss; later records may lack what a later version would leave out.
    private static let members = ["loss", "learning_rate", "gradient_norm", "items_per_second", "step_ms"]

    /// - Parameter step: records of later steps are not to be kept.
    /// - Throws: `TelemetryError.notAMetricsFile` where a line is no record, or the steps do not rise; a last line without line
    ///   break may be the beginning of one, or be zeros, which a loss of power leaves behind whole records. `.system`.
    init(descriptor: Int32, path: String, keepingSteps step: Int) throws(TelemetryError) {
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        var line: [UInt8] = []
        var lineNumber = 1
        var offset = 0
        while true {
            let count = try MetricsFile.call("read", path) {
                // SAFETY: the kernel writes at most as many bytes as the piece has.
                piece.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, off_t(offset)) }
            }
            if count == 0 { break }
            for index in 0..<count {
                guard piece[index] == UInt8(ascii: "\n") else {
                    if line.count <= Records.greatestLine { line.append(piece[index]) }
                    continue
                }
                guard let recorded = Records.step(of: line, isFirst: lastStep == nil), recorded > lastStep ?? Int.min else {
                    throw .notAMetricsFile(path: path, line: lineNumber)
                }
                lastStep = recorded
                if recorded <= step {
                    lastKeptStep = recorded
                    keptBytes = offset + index + 1
                }
                line.removeAll(keepingCapacity: true)
                lineNumber += 1
            }
            offset += count
        }
        let isRemains = Records.canBeTorn(line) || lastStep != nil && line.allSatisfy { $0 == 0 }
        guard isRemains else { throw .notAMetricsFile(path: path, line: lineNumber) }
    }

    /// The step of a record, or nil if the line is none.
    private static func step(of line: [UInt8], isFirst: Bool) -> Int? {
        guard line.starts(with: start), line.last == UInt8(ascii: "}") else { return nil }
        let parts = line.dropFirst(start.count).dropLast().split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
        let members = isFirst ? members : ["loss"]
        guard let digits = parts.first, let step = Int(String(decoding: digits, as: UTF8.self)), step >= 0,
            parts.count > members.count
        else { return nil }
        for (name, part) in zip(members, parts.dropFirst()) where !part.starts(with: Array("\"\(name)\":".utf8)) { return nil }
        return step
    }

    /// Whether a record can begin like this.
    private static func canBeTorn(_ line: [UInt8]) -> Bool {
        guard line.count <= greatestLine, line.starts(with: start.prefix(line.count)) else { return false }
        guard line.count > start.count else { return true }
        let rest = line.dropFirst(start.count)
        let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        let next = Array(",\"loss\":".utf8)
        return !digits.isEmpty && rest.dropFirst(digits.count).prefix(next.count).elementsEqual(next.prefix(rest.count - digits.count))
    }
}
