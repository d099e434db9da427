import Glibc

/// Passes on one output of a worker to a place where others write, too, so that all lines come out whole, each with its
/// mark.
///
/// A line is passed on when it is complete. Progress that ends in a carriage return is passed on when nothing has
/// replaced it for a `tick`. A line that is only begun, such as a prompt, is passed on when nothing has followed for a
/// `pause`, or its end has not come for long: it is then left open, and goes on there if no other output has written
/// meanwhile. If one has, its line begins on the next line, and the begun line comes again from its start once it is
/// whole.
///
/// Pure: chunks and times in, bytes out.
package struct LinePasser {
    /// What is to be written.
    package struct Passed: Equatable {
        package var bytes: [UInt8] = []
        /// The last line goes on.
        package var standsOpen = false
    }

    /// Where this output's next byte is written.
    private enum Cursor {
        case lineStart
        case withinLine
        /// At the start of a line with text on it.
        case returned
    }

    /// Progress is passed on at most this often.
    package static let tick = Duration.milliseconds(100)
    /// A begun line that nothing follows for this long is not in the middle of being written.
    package static let pause = Duration.milliseconds(250)

    /// A line that grows little by little is shown after this time.
    package static let patience = Duration.seconds(1)

    private let prefix: [UInt8]
    private let longestLine: Int
    /// The current line, from its start, or from its last carriage return that was passed on; without its beginning, if
    /// it is too long to be kept.
    private var begun: [UInt8] = []
    /// How many bytes of it have been passed on.
    private var passed = 0
    private var cursor = Cursor.lineStart
    /// The beginning was too long to be kept.
    private var isLong = false
    /// Others have written behind the begun part of the current line.
    private var isInterrupted = false
    private var lastByteAt = Duration.zero
    private var pendingSince = Duration.zero
    /// Others' lines have been written between the parts of a line that was too long to be kept.
    package private(set) var hasTornLine = false

    private static let newline = UInt8(ascii: "\n")
    private static let carriageReturn = UInt8(ascii: "\r")

    /// Lines are kept up to `longestLine` bytes; longer ones are passed on in parts.
    package init(prefix: [UInt8], longestLine: Int = 1 << 20) {
        self.prefix = prefix
        self.longestLine = longestLine
    }

    /// Whether something waits to be passed on by `tick`.
    package var isPending: Bool { passed < begun.count }

    /// Takes the next bytes. `standsOpen` says whether what this output left open is still the last that was written;
    /// `line` is called with each line that is complete.
    package mutating func append(
        _ chunk: UnsafeRawBufferPointer, at now: Duration, standsOpen: Bool, line: (UnsafeRawBufferPointer) -> Void = { _ in }
    ) -> Passed {
        var result = begin(standsOpen)
        result.bytes.reserveCapacity(chunk.count + chunk.count / 4)
        var rest = chunk
        while let base = rest.baseAddress, let end = memchr(base, Int32(LinePasser.newline), rest.count) {
            let length = UnsafeRawPointer(end) - base
            complete(UnsafeRawBufferPointer(rebasing: rest[..<length]), &result, line)
            rest = UnsafeRawBufferPointer(rebasing: rest[(length + 1)...])
        }
        if !rest.isEmpty {
            if !isPending { pendingSince = now }
            lastByteAt = now
            begun.append(contentsOf: rest)
            if begun.count > longestLine { giveUpKeeping(&result) }
        }
        return end(result)
    }

    /// Passes on what has stood for long enough.
    package mutating func tick(at now: Duration, standsOpen: Bool) -> Passed {
        var result = begin(standsOpen)
        let waits = now - pendingSince
        if isPending, now - lastByteAt >= LinePasser.pause || waits >= LinePasser.patience {
            pass(through: begun.count, &result)
            pendingSince = now
        } else if waits >= LinePasser.tick, let last = begun[passed...].lastIndex(of: LinePasser.carriageReturn) {
            pass(through: last + 1, &result)
            pendingSince = now
        }
        return end(result)
    }

    /// The output has ended; a line that has no end gets one.
    package mutating func finish(standsOpen: Bool, line: (UnsafeRawBufferPointer) -> Void = { _ in }) -> Passed {
        var result = begin(standsOpen)
        if !begun.isEmpty || cursor != .lineStart { complete(UnsafeRawBufferPointer(start: nil, count: 0), &result, line) }
        return end(result)
    }

    // MARK: Parts

    private mutating func begin(_ standsOpen: Bool) -> Passed {
        if cursor != .lineStart, !standsOpen {
            isInterrupted = true
            if isLong { hasTornLine = true }
        }
        return Passed()
    }

    private func end(_ result: Passed) -> Passed {
        var result = result
        result.standsOpen = cursor != .lineStart && !isInterrupted
        return result
    }

    /// The current line ends with `tail`.
    private mutating func complete(
        _ tail: UnsafeRawBufferPointer, _ result: inout Passed, _ line: (UnsafeRawBufferPointer) -> Void
    ) {
        defer {
            begun.removeAll(keepingCapacity: true)
            (passed, cursor, isLong, isInterrupted) = (0, .lineStart, false, false)
        }
        if begun.isEmpty, cursor == .lineStart, !LinePasser.returns(tail.dropLast()) {
            result.bytes += prefix
            result.bytes += tail
            result.bytes.append(LinePasser.newline)
            return line(tail)
        }
        begun.append(contentsOf: tail)
        begun.withUnsafeBytes(line)
        // What others have written behind is whole already.
        if isInterrupted, passed == begun.count { return }
        write(through: begun.count, &result)
        result.bytes.append(LinePasser.newline)
    }

    private mutating func pass(through count: Int, _ result: inout Passed) {
        write(through: count, &result)
        if cursor == .returned {
            begun.removeFirst(count)
            passed = 0
        } else {
            passed = count
        }
    }

    private mutating func write(through count: Int, _ result: inout Passed) {
        if isInterrupted {
            // What was before a carriage return is not missed.
            passed = 0
            cursor = .lineStart
            isInterrupted = false
        }
        for byte in begun[passed..<count] {
            if cursor != .withinLine { result.bytes += prefix }
            result.bytes.append(byte)
            cursor = byte == LinePasser.carriageReturn ? .returned : .withinLine
        }
    }

    /// Whether there is a carriage return, after which the mark must be written again.
    private static func returns(_ bytes: Slice<UnsafeRawBufferPointer>) -> Bool {
        let bytes = UnsafeRawBufferPointer(rebasing: bytes)
        return bytes.baseAddress.map { memchr($0, Int32(carriageReturn), bytes.count) != nil } ?? false
    }

    private mutating func giveUpKeeping(_ result: inout Passed) {
        pass(through: begun.count, &result)
        begun.removeAll()
        passed = 0
        isLong = true
    }
}
