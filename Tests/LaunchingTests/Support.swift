import EventLoop
import Glibc
import Launching
import TestSupport
import Testing

/// A file without a name that collects what is written to a descriptor.
final class Capture {
    let descriptor: Int32

    init() throws {
        var path = Array("/tmp/lockstep-test-XXXXXX".utf8CString)
        descriptor = mkstemp(&path)
        try #require(descriptor >= 0)
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        unlink(path)
    }

    deinit { close(descriptor) }

    var text: String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        var offset = 0
        while true {
            let count = pread(descriptor, &buffer, buffer.count, offset)
            guard count > 0 else { break }
            bytes += buffer[..<count]
            offset += count
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    var lines: [String] { text.split(separator: "\n", omittingEmptySubsequences: true).map(String.init) }
}

/// What a launch came to.
struct Launched {
    let outcome: Launcher.Outcome
    let output: Capture
    let errors: Capture
}

/// Launches workers that run a shell script, in this process.
func launch(
    _ script: String, workers: Int, configure: (inout LaunchConfiguration) -> Void = { _ in }
) throws -> Launched {
    let output = try Capture()
    let errors = try Capture()
    var configuration = LaunchConfiguration(program: "/bin/sh", arguments: ["-c", script], workerCount: workers)
    configuration.outputDescriptor = output.descriptor
    configuration.errorDescriptor = errors.descriptor
    configure(&configuration)
    let outcome = try Launcher(configuration).run()
    return Launched(outcome: outcome, output: output, errors: errors)
}

/// A launcher in a process of its own, whose output lines arrive as they come.
final class RemoteLauncher {
    private(set) var lines: [String] = []
    private(set) var errorLines: [String] = []
    private(set) var ending: ChildProcess.Ending?
    private(set) var pid: Int32 = 0

    /// Runs `Probe launch` to its end, or for at most 20 s. `onLine` sees each line of output and may signal.
    func run(
        workers: Int, grace: Duration = .seconds(60), script: String,
        onLine: (_ line: String, _ launcher: ChildProcess) -> Void
    ) throws {
        let loop = try Loop()
        defer { loop.close() }
        let watchdog = try Timer(loop: loop) {
            Issue.record("the launcher did not end")
            loop.stop()
        }
        watchdog.start(after: .seconds(20))
        var specification = ChildProcess.Specification(
            program: try probePath(),
            arguments: ["launch", "\(workers)", "\(grace.millisecondsRoundedUp)", "/bin/sh", "-c", script])
        specification.output = .pipe
        specification.errors = .pipe
        var open = 3
        func closed() {
            open -= 1
            if open == 0 { loop.stop() }
        }
        try withoutActuallyEscaping(onLine) { onLine in
            let child = try ChildProcess(loop: loop, specification) { [self] ending in
                self.ending = ending
                closed()
            }
            pid = child.pid
            var splitter = LineSplitter()
            var errorSplitter = LineSplitter()
            child.output!.received = { [self] chunk in
                splitter.append(chunk) { line in
                    lines.append(String(decoding: line, as: UTF8.self))
                    onLine(lines.last!, child)
                }
            }
            child.errors!.received = { [self] chunk in
                errorSplitter.append(chunk) { errorLines.append(String(decoding: $0, as: UTF8.self)) }
            }
            child.output!.ended = { _ in closed() }
            child.errors!.ended = { _ in closed() }
            child.output!.startReading()
            child.errors!.startReading()
            loop.run()
            loop.close()
        }
    }
}

/// Whether a process is there and not merely waiting to be reaped.
func isAlive(_ pid: Int32) -> Bool {
    guard let file = fopen("/proc/\(pid)/stat", "r") else { return false }
    defer { fclose(file) }
    var buffer = [UInt8](repeating: 0, count: 512)
    let count = fread(&buffer, 1, buffer.count, file)
    let text = String(decoding: buffer[..<count], as: UTF8.self)
    guard let name = text.lastIndex(of: ")") else { return false }
    return !text[name...].hasPrefix(") Z") && !text[name...].hasPrefix(") X")
}

/// Waits until none of the processes is alive; false if some still are after `limit`.
func allGone(_ pids: [Int32], within limit: Duration) -> Bool {
    let deadline = ContinuousClock.now + limit
    while pids.contains(where: isAlive) {
        if ContinuousClock.now > deadline { return false }
        usleep(5000)
    }
    return true
}
