import EventLoop
import Glibc
import RawText

/// Finds the file that a program's name means, before any worker is started.
enum ProgramSearch {
    /// The path to execute: `program` itself when it contains a slash, else the first executable file of that name in
    /// `path`.
    static func find(_ program: String, path: String?) throws(LaunchError) -> String {
        if program.utf8.contains(UInt8(ascii: "/")) {
            switch kind(of: program) {
            case .executable: return program
            case .other: throw .programNotExecutable(path: program)
            case .missing: throw .programNotFound(program: program, searched: "", isInCurrentDirectory: false)
            }
        }
        // What execvp takes when the variable is not set.
        let path = path ?? "/bin:/usr/bin"
        var blocked: String?
        for directory in path.split(separator: ":", omittingEmptySubsequences: false) where !program.isEmpty {
            let candidate = directory.isEmpty ? "./\(program)" : "\(directory)/\(program)"
            switch kind(of: candidate) {
            case .executable: return candidate
            case .other: blocked = blocked ?? candidate
            case .missing: continue
            }
        }
        if let blocked { throw .programNotExecutable(path: blocked) }
        let isHere = !program.isEmpty && kind(of: "./\(program)") != .missing
        throw .programNotFound(program: program, searched: path, isInCurrentDirectory: isHere)
    }

    private enum Kind { case executable, other, missing }

    private static func kind(of path: String) -> Kind {
        var status = stat()
        guard path.withFileName({ stat($0, &status) }) == 0 else { return .missing }
        let isFile = status.st_mode & S_IFMT == S_IFREG
        return isFile && path.withFileName { access($0, X_OK) } == 0 ? .executable : .other
    }
}
