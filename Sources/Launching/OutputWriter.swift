import EventLoop
import Glibc
import Synchronization

/// Writes to files and pipes on a thread of its own, so that a reader that has paused (a pager, a terminal on hold) stops
/// neither signals nor the coordinator. Blocks handed in by one thread come out in their order, each as a whole.
///
/// A destination that cannot be written to any more (its reader has gone, the disk is full) is given up, once, and the
/// rest goes on: days of training must not end for the sake of a log.
final class OutputWriter: Sendable {
    /// A descriptor and the writer that serves it.
    struct Destination {
        let writer: OutputWriter
        let descriptor: Int32

        func write(_ bytes: [UInt8]) { writer.write(bytes, to: descriptor) }
    }

    private let loop: Loop
    private let queued = Atomic<Int>(0)
    private let dead = Mutex<Set<Int32>>([])
    private let drained: @Sendable () -> Void
    private let failed: @Sendable (_ descriptor: Int32, _ code: SystemCode) -> Void

    /// The writer tells when it has caught up to this many bytes.
    static let lowWaterBytes = 1 << 20

    /// Both closures run on the writer's thread: `drained` each time when `queuedBytes` falls to the low-water mark, `failed`
    /// once for each descriptor that is given up.
    init(
        drained: @escaping @Sendable () -> Void,
        failed: @escaping @Sendable (_ descriptor: Int32, _ code: SystemCode) -> Void
    ) throws(LoopError) {
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

    private func writeAll(_ bytes: [UInt8], to descriptor: Int32) {
        guard !dead.withLock({ $0.contains(descriptor) }) else { return }
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + written, $0.count - written) }
            if count >= 0 {
                written += count
            } else if errno == EAGAIN {
                // Somebody has made our output non-blocking, as a parent sharing it may.
                var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&waiting, 1, -1)
            } else if errno != EINTR {
                let code = SystemCode(errno: errno)
                _ = dead.withLock { $0.insert(descriptor) }
                return failed(descriptor, code)
            }
        }
    }
}
