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

/// What is waited for comes in far less, however busy the machine is.
let generousLimit = Duration.seconds(120)

/// A pipe that the processes which other tests start meanwhile do not inherit.
func makePipe() throws -> (reading: Int32, writing: Int32) {
    var ends: [Int32] = [0, 0]
    try #require(pipe(&ends) == 0)
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    return (ends[0], ends[1])
}

/// Makes an empty file: what scripts wait for.
func touch(_ path: String) {
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600))
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

    /// Runs `Probe launch` to its end; kills it if that does not come. `onLine` sees each line of output and may signal.
    func run(
        workers: Int, grace: Duration = .seconds(60), script: String,
        onLine: (_ line: String, _ launcher: ChildProcess) -> Void
    ) throws {
        let loop = try Loop()
        defer { loop.close() }
        weak var launcher: ChildProcess?
        let watchdog = try Timer(loop: loop) {
            Issue.record("the launcher did not end")
            launcher?.signal(.kill)
            loop.stop()
        }
        watchdog.start(after: generousLimit)
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
            launcher = child
            pid = child.pid
            let (output, errors) = (try #require(child.output), try #require(child.errors))
            var splitter = LineSplitter()
            var errorSplitter = LineSplitter()
            output.received = { [self] chunk in
                splitter.append(chunk) { bytes in
                    let line = String(decoding: bytes, as: UTF8.self)
                    lines.append(line)
                    onLine(line, child)
                }
            }
            errors.received = { [self] chunk in
                errorSplitter.append(chunk) { errorLines.append(String(decoding: $0, as: UTF8.self)) }
            }
            output.ended = { _ in closed() }
            errors.ended = { _ in closed() }
            output.startReading()
            errors.startReading()
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
func allGone(_ pids: [Int32], within limit: Duration = generousLimit) -> Bool {
    let deadline = ContinuousClock.now + limit
    while pids.contains(where: isAlive) {
        if ContinuousClock.now > deadline { return false }
        usleep(5000)
    }
    return true
}
