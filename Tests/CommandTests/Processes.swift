import Glibc
import Testing

/// What is waited for comes in far less, however busy the machine is.
let generousLimit = Duration.seconds(240)

/// A program started by a test, with its outputs in files: nothing can block it, and nothing of it is lost.
final class Started {
    let pid: Int32
    private let outputPath: String
    private let errorsPath: String
    private var status: Int32?

    /// Starts `path` with these arguments. The environment is this process's without a worker's place in a job, and with `environment`.
    init(_ path: String, _ arguments: [String], environment: [String: String] = [:], blocksSignals: Bool = false) throws {
        outputPath = try Started.emptyFile()
        errorsPath = try Started.emptyFile()
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, outputPath, O_WRONLY | O_APPEND, 0)
        posix_spawn_file_actions_addopen(&actions, 2, errorsPath, O_WRONLY | O_APPEND, 0)
        // A group of its own: what a test sends to it does not reach the tests. No signals blocked, as they are on threads of tests.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var blocked = sigset_t()
        if blocksSignals { sigfillset(&blocked) } else { sigemptyset(&blocked) }
        posix_spawnattr_setsigmask(&attributes, &blocked)
        // Nor ignored, as SIGINT is where a shell has started the tests in the background.
        var unignored = sigset_t()
        sigfillset(&unignored)
        posix_spawnattr_setsigdefault(&attributes, &unignored)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var pid: Int32 = 0
        let code = Started.withStrings([path] + arguments) { arguments in
            Started.withStrings(Started.variables(environment)) { variables in
                posix_spawn(&pid, path, &actions, &attributes, arguments, variables)
            }
        }
        try #require(code == 0, "cannot start \(path): \(String(cString: strerror(code)))")
        self.pid = pid
    }

    deinit {
        if status == nil {
            kill(pid, SIGKILL)
            var raw: Int32 = 0
            waitpid(pid, &raw, 0)
        }
        unlink(outputPath)
        unlink(errorsPath)
    }

    var output: String { contents(of: outputPath) }
    var errors: String { contents(of: errorsPath) }

    /// Waits for the end; the status as a shell has it, 128 + the signal for one that was killed.
    @discardableResult
    func end(within limit: Duration = generousLimit) throws -> Int32 {
        if let status { return status }
        var raw: Int32 = 0
        try #require(
            wait(for: limit) { waitpid(pid, &raw, WNOHANG) == pid }, "did not end within \(limit): \(output)\(errors)")
        let status = raw & 0x7F == 0 ? (raw >> 8) & 0xFF : 128 + (raw & 0x7F)
        self.status = status
        return status
    }

    /// The processes that it has started and that are still its own.
    var children: [Int32] {
        contents(of: "/proc/\(pid)/task/\(pid)/children").split(separator: " ").compactMap { Int32($0) }
    }

    /// Kills one of them, and nobody else: the number of one that has ended may be another process's by now. Whether it was there.
    @discardableResult
    func killChild(_ child: Int32) -> Bool {
        children.contains(child) && kill(child, SIGKILL) == 0
    }

    private static func emptyFile() throws -> String {
        var path = Array("/tmp/lockstep-test-XXXXXX".utf8CString)
        let descriptor = mkstemp(&path)
        try #require(descriptor >= 0)
        close(descriptor)
        return String(decoding: path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func variables(_ added: [String: String]) -> [String] {
        var result: [String: String] = [:]
        var place = environ
        while let entry = place.pointee {
            let text = String(cString: entry)
            place += 1
            guard let sign = text.firstIndex(of: "=") else { continue }
            result[String(text[..<sign])] = String(text[text.index(after: sign)...])
        }
        for name in ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"] { result[name] = nil }
        for name in result.keys where name.hasPrefix("LOCKSTEP_") { result[name] = nil }
        return result.merging(added) { $1 }.map { "\($0)=\($1)" }
    }

    private static func withStrings<Result>(
        _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) -> Result {
        var pointers = strings.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
    }
}

/// What a program that has ended came to.
struct Ended {
    let status: Int32
    let output: String
    let errors: String

    var lines: [String] { output.split(separator: "\n").map(String.init) }
    var errorLines: [String] { errors.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init) }
    /// Of the last line that a run prints.
    var digest: String? {
        guard let last = lines.last, last.hasPrefix("weights sha256 "), output.hasSuffix("\n") else { return nil }
        let digits = last.dropFirst("weights sha256 ".count)
        return digits.count == 64 && digits.allSatisfy(\.isHexDigit) ? String(digits) : nil
    }
}

extension Started {
    func ended(within limit: Duration = generousLimit) throws -> Ended {
        let status = try end(within: limit)
        return Ended(status: status, output: output, errors: errors)
    }
}

/// Starts the command.
func startLockstep(_ arguments: [String], environment: [String: String] = [:]) throws -> Started {
    try Started(built("lockstep"), arguments, environment: environment)
}

/// Runs the command to its end.
func lockstep(_ arguments: String..., environment: [String: String] = [:]) throws -> Ended {
    try startLockstep(arguments, environment: environment).ended()
}

/// The program that the package builds beside its tests.
func built(_ name: String) throws -> String {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = buffer.withUnsafeMutableBytes { readlink("/proc/self/exe", $0.baseAddress!, $0.count) }
    let executable = String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self)
    let slash = try #require(executable.lastIndex { $0 == "/" })
    return executable[...slash] + name
}

/// Looks every few milliseconds until the condition holds; false if it still does not after `limit`.
func wait(for limit: Duration = generousLimit, until condition: () throws -> Bool) rethrows -> Bool {
    let deadline = ContinuousClock.now + limit
    while try !condition() {
        if ContinuousClock.now > deadline { return false }
        usleep(2000)
    }
    return true
}

/// Whether a process is there and not merely waiting to be reaped.
func isAlive(_ pid: Int32) -> Bool {
    let text = contents(of: "/proc/\(pid)/stat")
    guard let name = text.lastIndex(of: ")") else { return false }
    return !text[name...].hasPrefix(") Z") && !text[name...].hasPrefix(") X")
}

/// Whether a process has been stopped, as by Ctrl-Z.
func isStopped(_ pid: Int32) -> Bool {
    let text = contents(of: "/proc/\(pid)/stat")
    return text.lastIndex(of: ")").map { text[$0...].hasPrefix(") T") } ?? false
}

/// A variable of a process's environment.
func variable(_ name: String, of pid: Int32) -> String? {
    contents(of: "/proc/\(pid)/environ").split(separator: "\0").first { $0.hasPrefix(name + "=") }.map {
        String($0.dropFirst(name.count + 1))
    }
}
