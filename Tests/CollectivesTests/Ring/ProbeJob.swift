import EventLoop
import Glibc
import Synchronization
import TestSupport
import Testing

/// A `Probe` at work, its output collected by a thread of its own.
final class ProbeJob: @unchecked Sendable {
    // SAFETY (@unchecked Sendable): the child is touched by the loop's thread only, but for its pid, which does not change.

    private let loop: Loop
    private let child: ChildProcess
    private let told = Mutex(Told())
    /// What is waited for comes in far less, however busy the machine is.
    private static let limit = Duration.seconds(180)

    /// What is known of the process; it has ended once its output has, too.
    private struct Told {
        var lines: [String] = []
        var unfinished: [UInt8] = []
        var isOutputOver = false
        var ending: ChildProcess.Ending?

        mutating func take(_ bytes: UnsafeRawBufferPointer) {
            unfinished += bytes
            while let end = unfinished.firstIndex(of: UInt8(ascii: "\n")) {
                lines.append(String(decoding: unfinished[..<end], as: UTF8.self))
                unfinished.removeSubrange(...end)
            }
        }
    }

    init(arguments: [String], environment: [String: String] = [:]) throws {
        var specification = ChildProcess.Specification(program: try probePath(), arguments: arguments)
        specification.environment.merge(environment)
        specification.output = .pipe
        loop = try Loop()
        weak var job: ProbeJob?
        child = try ChildProcess(loop: loop, specification) { ending in job?.told.withLock { $0.ending = ending } }
        job = self
        let reader = try #require(child.output)
        reader.received = { [weak self] bytes in self?.told.withLock { $0.take(bytes) } }
        reader.ended = { [weak self] _ in self?.told.withLock { $0.isOutputOver = true } }
        reader.startReading()
        try loop.startThread(name: "job")
    }

    func stop() {
        if !hasEnded { kill(child.pid, SIGKILL) }
        loop.stopAndJoin()
    }

    func signal(_ number: Int32) {
        if !hasEnded { kill(child.pid, number) }
    }

    var hasEnded: Bool { told.withLock { $0.ending != nil } }
    var lines: [String] { told.withLock { $0.lines } }

    /// nil if the process has ended and never told it.
    func waitForLine(_ isWanted: (String) -> Bool) -> String? {
        var seen = 0
        let found: String?? = wait {
            let (new, isOver) = told.withLock { ($0.lines[seen...], $0.isOutputOver) }
            seen = new.endIndex
            if let line = new.first(where: isWanted) { return line }
            return isOver ? .some(nil) : nil
        }
        return found ?? nil
    }

    func waitForEnd() -> ChildProcess.Ending? {
        wait { told.withLock { $0.isOutputOver ? $0.ending : nil } }
    }

    /// The ports on which the process listens, once there are so many.
    func waitForListeners(count: Int) -> [UInt16]? {
        wait {
            let ports = listeningPorts()
            return ports.count >= count ? ports : nil
        }
    }

    var residentBytes: Int? {
        let fields = contents("/proc/\(child.pid)/statm").split(separator: " ")
        return fields.count > 1 ? Int(fields[1]).map { $0 * 4096 } : nil
    }

    private func wait<Value>(for value: () -> Value?) -> Value? {
        let end = ContinuousClock.now + ProbeJob.limit
        while ContinuousClock.now < end {
            if let value = value() { return value }
            usleep(2000)
        }
        return nil
    }

    private func listeningPorts() -> [UInt16] {
        let own = Set((0..<256).compactMap { link("/proc/\(child.pid)/fd/\($0)") })
        return contents("/proc/net/tcp").split(separator: "\n").dropFirst().compactMap { line in
            let fields = line.split(separator: " ")
            guard fields.count > 9, fields[3] == "0A", own.contains("socket:[\(fields[9])]") else { return nil }
            return fields[1].split(separator: ":").last.flatMap { UInt16($0, radix: 16) }
        }
    }

    private func link(_ path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: 256)
        let count = buffer.withUnsafeMutableBytes { readlink(path, $0.baseAddress!, $0.count) }
        return count > 0 ? String(decoding: buffer.prefix(count), as: UTF8.self) : nil
    }

    private func contents(_ path: String) -> String {
        let descriptor = open(path, O_RDONLY)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            guard count > 0 else { return String(decoding: all, as: UTF8.self) }
            all += buffer.prefix(count)
        }
    }
}
