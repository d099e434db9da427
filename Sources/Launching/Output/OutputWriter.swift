import EventLoop
import Glibc
import Synchronization

/// Writes to files and pipes on a thread of its own, so that a reader that has paused (a pager, a terminal on hold)
/// stops neither signals nor the coordinator. Blocks handed in by one thread come out in their order, each as a whole.
///
/// A destination that cannot be written to does not hold up the rest: days of training must not end because of a log. A
/// pipe or a terminal whose reader has gone is given up, once; a file, whose disk may have room again, is tried again
/// with the next block.
final class OutputWriter: Sendable {
    /// A descriptor and the writer that serves it. Of one thread.
    struct Destination {
        let writer: OutputWriter
        let descriptor: Int32
        private let openLine: OpenLine

        /// Which owner has left the last line open, in a file that may have several destinations.
        final class OpenLine {
            fileprivate var owner: AnyObject?

            init() {}
        }

        init(writer: OutputWriter, descriptor: Int32, openLine: OpenLine = OpenLine()) {
            self.writer = writer
            self.descriptor = descriptor
            self.openLine = openLine
        }

        /// Whether the last line is one that this owner has left open.
        func standsOpen(for owner: AnyObject) -> Bool { openLine.owner === owner }

        /// Writes lines of an owner, which may leave the last one open. Another owner's open line is ended first.
        func write(_ bytes: [UInt8], leavingOpen: Bool, by owner: AnyObject) {
            guard !bytes.isEmpty else { return }
            let isOthers = openLine.owner != nil && openLine.owner !== owner
            writer.write(isOthers ? [UInt8(ascii: "\n")] + bytes : bytes, to: descriptor)
            openLine.owner = leavingOpen ? owner : nil
        }

        /// Writes whole lines.
        func write(_ lines: [UInt8]) { write(lines, leavingOpen: false, by: openLine) }
    }

    private let loop: Loop
    private let queued = Atomic<Int>(0)
    private let dead = Mutex<Set<Int32>>([])
    /// Files whose last block could not be written, and whether half a line of it was.
    private let failing = Mutex<[Int32: (code: SystemCode, isMidLine: Bool)]>([:])
    private let ownsFiles: Bool
    private let drained: @Sendable () -> Void
    private let failed: @Sendable (_ descriptor: Int32, _ code: SystemCode, _ isFinal: Bool) -> Void

    /// The writer tells when it has caught up to this many bytes.
    static let lowWaterBytes = 1 << 20

    /// Both closures run on the writer's thread: `drained` each time when `queuedBytes` falls to the low-water mark,
    /// `failed` once for each descriptor that is given up, or that cannot be written for now.
    ///
    /// - Parameter ownsFiles: no other process writes to the files, so that half a line may be cut off again.
    init(
        ownsFiles: Bool = false, drained: @escaping @Sendable () -> Void,
        failed: @escaping @Sendable (_ descriptor: Int32, _ code: SystemCode, _ isFinal: Bool) -> Void
    ) throws(LoopError) {
        self.ownsFiles = ownsFiles
        loop = try Loop()
        self.drained = drained
        self.failed = failed
        do throws(LoopError) {
            try loop.startThread(name: "lockstep-output")
        } catch {
            loop.close()
            throw error
        }
    }

    /// Bytes that have been handed in and not yet been written.
    var queuedBytes: Int { queued.load(ordering: .relaxed) }

    /// Hands in a block; returns at once. From one thread.
    func write(_ bytes: [UInt8], to descriptor: Int32) {
        guard !bytes.isEmpty else { return }
        queued.add(bytes.count, ordering: .relaxed)
        loop.enqueue { [self] in
            writeAll(bytes, to: descriptor)
            let left = queued.subtract(bytes.count, ordering: .relaxed).newValue
            if left <= OutputWriter.lowWaterBytes && left + bytes.count > OutputWriter.lowWaterBytes { drained() }
        }
    }

    /// Runs `done` on the writer's thread when all that was handed in before has been written.
    func whenWritten(_ done: @escaping @Sendable () -> Void) {
        loop.enqueue(done)
    }

    /// Ends the thread, after it has written everything.
    func close() {
        loop.stopAndJoin()
    }

    /// Leaves the thread alone with a write that may never end; for a process that is about to exit.
    func abandon() {
        // SAFETY: never released, deliberately: the thread goes on using it.
        _ = Unmanaged.passRetained(self)
    }

    private func writeAll(_ block: [UInt8], to descriptor: Int32) {
        guard !dead.withLock({ $0.contains(descriptor) }) else { return }
        var bytes = block
        let before = failing.withLock { $0[descriptor] }
        if let before {
            bytes = Array("\(before.isMidLine ? "\n" : "")lockstep: lines are missing here (\(before.code))\n".utf8) + block
        }
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + written, $0.count - written) }
            if count >= 0 {
                written += count
            } else if errno == EAGAIN {
                // Another process has made our output non-blocking, as a parent that shares it may.
                var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&waiting, 1, -1)
            } else if errno != EINTR {
                return gaveUp(descriptor, SystemCode(errno: errno), after: bytes[..<written])
            }
        }
        if before != nil { failing.withLock { $0[descriptor] = nil } }
    }

    /// A block, of which this much is written, is lost.
    private func gaveUp(_ descriptor: Int32, _ code: SystemCode, after written: ArraySlice<UInt8>) {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            _ = dead.withLock { $0.insert(descriptor) }
            return failed(descriptor, code, true)
        }
        var half = written.count - (written.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0)
        if ownsFiles, half > 0 {
            let end = lseek(descriptor, 0, SEEK_CUR) - off_t(half)
            if end >= 0, ftruncate(descriptor, end) == 0, lseek(descriptor, end, SEEK_SET) == end { half = 0 }
        }
        let isNew = failing.withLock { failing in
            let before = failing[descriptor]
            failing[descriptor] = (code, half > 0 || written.isEmpty && before?.isMidLine == true)
            return before == nil
        }
        if isNew { failed(descriptor, code, false) }
    }
}
