import Glibc

/// The file of `--metrics`: one JSON object a line, one line a step.
///
/// Each record goes out as a whole line in one write(2), so that a reader that follows the file sees whole lines, and
/// whatever was appended survives the death of the process. Used by one thread at a time; closed with the last reference.
public final class MetricsFile {
    public let path: String
    private let descriptor: Int32
    /// Where the next record begins: everything before is whole records.
    private var end = 0
    /// The step of the last record in the file; nil if there is none.
    public private(set) var lastStep: Int?

    /// Opens the file for a run.
    ///
    /// - Parameters:
    ///   - path: a new file, or the one to replace or to continue.
    ///   - resumedStep: the number of steps that were committed when the run resumes; nil for a run that begins, which
    ///     empties the file. Records of later steps are cut off, and so is a last line that was not completed: the run
    ///     will make them again.
    /// - Throws: `TelemetryError.system`; `.notAMetricsFile` if the file to continue is something else, which is then as
    ///   it was.
    public init(path: String, resumedStep: Int? = nil) throws(TelemetryError) {
        self.path = path
        // O_RDWR, because the records are read on resuming; it also makes open(2) of a pipe return at once.
        let flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC
        descriptor = try MetricsFile.call("open", path) { open(path, flags, 0o666) }
        end = try resumedStep.map { (step) throws(TelemetryError) in try endOfRecords(upTo: step) } ?? 0
        // A pipe or a terminal has no length to cut; it just takes the records.
        var status = stat()
        _ = try MetricsFile.call("look at", path) { fstat(descriptor, &status) }
        if status.st_mode & S_IFMT == S_IFREG {
            _ = try MetricsFile.call("cut", path) { ftruncate(descriptor, off_t(end)) }
        }
    }

    deinit {
        close(descriptor)
    }

    /// Appends a record.
    ///
    /// - Throws: `TelemetryError.system`. The file then ends with the record before, as far as that can be had.
    public func append(_ metrics: StepMetrics) throws(TelemetryError) {
        let line = Array((metrics.json + "\n").utf8)
        do {
            var written = 0
            while written < line.count {
                written += try line.withUnsafeBytes { bytes in
                    // SAFETY: the kernel reads from within the line, which is borrowed for the call.
                    MetricsFile.result("write", path) { write(descriptor, bytes.baseAddress! + written, line.count - written) }
                }.get()
            }
            end += line.count
            lastStep = metrics.step
        } catch {
            ftruncate(descriptor, off_t(end))
            throw error
        }
    }

    /// Where the records of steps up to `step` end. A last line without line break does not count.
    private func endOfRecords(upTo step: Int) throws(TelemetryError) -> Int {
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        var line: [UInt8] = []
        var lineNumber = 1
        var offset = 0
        var lineStart = 0
        while true {
            let count = try piece.withUnsafeMutableBytes { bytes in
                // SAFETY: the kernel writes at most as many bytes as the piece has.
                MetricsFile.result("read", path) { pread(descriptor, bytes.baseAddress, bytes.count, off_t(offset)) }
            }.get()
            if count == 0 { return lineStart }
            for index in 0..<count {
                if piece[index] != UInt8(ascii: "\n") {
                    // A record is a few hundred bytes; a longer line needs no memory to be recognised as none.
                    if line.count < 4096 { line.append(piece[index]) }
                    continue
                }
                guard let recorded = MetricsFile.step(of: line) else {
                    throw .notAMetricsFile(path: path, line: lineNumber)
                }
                if recorded > step { return lineStart }
                lastStep = recorded
                line.removeAll(keepingCapacity: true)
                lineStart = offset + index + 1
                lineNumber += 1
            }
            offset += count
        }
    }

    /// The step of a record, or nil if the line is none.
    static func step(of line: [UInt8]) -> Int? {
        let start = Array("{\"step\":".utf8)
        guard line.starts(with: start), line.last == UInt8(ascii: "}") else { return nil }
        let digits = line.dropFirst(start.count).prefix { $0 != UInt8(ascii: ",") }
        return Int(String(decoding: digits, as: UTF8.self))
    }

    private static func call<Number: SignedInteger>(
        _ operation: String, _ path: String, _ body: () -> Number
    ) throws(TelemetryError) -> Number {
        try result(operation, path, body).get()
    }

    /// The result of a system call, made again for as long as a signal interrupts it.
    private static func result<Number: SignedInteger>(
        _ operation: String, _ path: String, _ body: () -> Number
    ) -> Result<Number, TelemetryError> {
        while true {
            let result = body()
            if result >= 0 { return .success(result) }
            if errno != EINTR { return .failure(.system(operation: operation, path: path, errno: errno)) }
        }
    }
}
