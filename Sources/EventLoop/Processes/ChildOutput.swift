import CLibuv
import Glibc
import RawText

/// One output of a child about to be started: which descriptor it gets, and the pipe behind it, if any.
///
/// A real pipe, not the socket pair that libuv would make: programs may then open /dev/stdout and /dev/stderr.
struct ChildOutput {
    /// What `uv_spawn` is told.
    private(set) var container = uv_stdio_container_t(flags: UV_IGNORE, data: .init(fd: -1))
    private var readingEnd: Int32 = -1
    private var writingEnd: Int32 = -1

    /// Thrown away.
    init() {}

    /// `descriptor` is this process's own, for `inherit`.
    init(_ output: ChildProcess.Output, descriptor: Int32) throws(LoopError) {
        switch output {
        case .null: break
        case .inherit: container = uv_stdio_container_t(flags: UV_INHERIT_FD, data: .init(fd: descriptor))
        case .pipe:
            var ends: (reading: Int32, writing: Int32) = (-1, -1)
            let code = withUnsafeMutableBytes(of: &ends) { ends in
                uv_pipe(ends.assumingMemoryBound(to: uv_file.self).baseAddress, Int32(UV_NONBLOCK_PIPE.rawValue), 0)
            }
            guard code == 0 else { throw .system(operation: "making a pipe for a child", code: SystemCode(code)) }
            container = uv_stdio_container_t(flags: UV_INHERIT_FD, data: .init(fd: ends.writing))
            readingEnd = ends.reading
            writingEnd = ends.writing
        }
    }

    /// Hands the reading end to a reader; nil when there is no pipe.
    mutating func makeReader(loop: Loop, name: String) throws(LoopError) -> PipeReader? {
        guard readingEnd >= 0 else { return nil }
        defer { readingEnd = -1 }
        return try PipeReader(loop: loop, descriptor: readingEnd, name: name)
    }

    /// Closes the ends that are still here. The writing end must go as soon as the child has its own, or the end never comes.
    mutating func close() {
        if readingEnd >= 0 { Glibc.close(readingEnd) }
        if writingEnd >= 0 { Glibc.close(writingEnd) }
        readingEnd = -1
        writingEnd = -1
    }
}

extension ChildProcess.Specification {
    /// Calls `uv_spawn`, which has initialized `process` as a handle even when it fails.
    func spawn(
        on loop: Loop, _ process: UnsafeMutablePointer<uv_process_t>, output: uv_stdio_container_t,
        errors: uv_stdio_container_t, exited: @escaping uv_exit_cb
    ) -> Int32 {
        let input =
            switch self.input {
            case .null: uv_stdio_container_t(flags: UV_IGNORE, data: .init(fd: -1))
            case .inherit: uv_stdio_container_t(flags: UV_INHERIT_FD, data: .init(fd: STDIN_FILENO))
            }
        var containers = [input, output, errors]
        var options = uv_process_options_t()
        options.exit_cb = exited
        options.flags = ownGroup ? UInt32(UV_PROCESS_DETACHED.rawValue) : 0
        options.stdio_count = Int32(containers.count)
        return containers.withUnsafeMutableBufferPointer { containers in
            withCStrings(([program] + arguments).map(RawText.bytes)) { arguments in
                environment.withPointers { environment in
                    withOptionalCString(directory) { directory in
                        options.stdio = containers.baseAddress
                        options.file = UnsafePointer(arguments[0])
                        options.args = arguments
                        options.env = environment
                        options.cwd = directory
                        return uv_spawn(loop.raw, process, &options)
                    }
                }
            }
        }
    }
}

private func withOptionalCString<Result>(_ text: String?, _ body: (UnsafePointer<CChar>?) -> Result) -> Result {
    guard let text else { return body(nil) }
    return text.withFileName { body($0) }
}
