import Checkpoints
import EventLoop
import Glibc
import Processes

/// Why a run could not be started. No process is left behind when one of these is thrown.
package enum LaunchError: Error, Equatable, CustomStringConvertible {
    /// No such file; `searched` is PATH for a bare name, empty for a path.
    case programNotFound(program: String, searched: String, isInCurrentDirectory: Bool)
    /// The file is there but may not be executed, or is a directory.
    case programNotExecutable(path: String)
    /// The system would not start the worker, for a program that looked right.
    case workerNotStarted(rank: Int, program: String, code: SystemCode)
    /// The worker's log file, or its directory, could not be made.
    case logFile(path: String, code: SystemCode)
    /// There is something of the log file's name already.
    case logFileIsThere(path: String, isPlain: Bool)
    /// The job's directory, or a file in it, could not be made.
    case jobDirectory(path: String, part: String, code: SystemCode)
    /// The lock of the job's directory is another run's, or cannot be had.
    case jobLock(path: String, CheckpointError)
    /// A file of a name that the job needs in its directory is not a job's.
    case notOurs(path: String)
    /// The process that watches over this one could not be forked.
    case guardian(errno: Int32)
    /// The event loop, or something on it, could not be made.
    case loop(LoopError)
    /// The system gives this process less than the run needs.
    case process(ProcessError)

    package var description: String {
        switch self {
        case .programNotFound(let program, let searched, let isHere) where !searched.isEmpty:
            "cannot find program \"\(program)\" in PATH (\(searched)); "
                + (isHere ? "for the file in this directory write ./\(program)" : "give its path, or install it")
        case .programNotFound(let program, _, _):
            "cannot find program \"\(program)\": there is no such file; check the path"
        case .programNotExecutable(let path):
            "cannot run \"\(path)\": it is not an executable file; make it one (chmod +x), or name the program that runs it"
        case .workerNotStarted(let rank, let program, .noSuchFile):
            "cannot start rank \(rank): \"\(program)\" names an interpreter that is not there; check its first line"
        case .workerNotStarted(let rank, let program, let code):
            "cannot start rank \(rank) (\"\(program)\"): \(code)"
        case .logFile(let path, let code):
            "cannot write log file \"\(path)\": \(code); choose another --log-dir"
        case .logFileIsThere(let path, true):
            "log file \"\(path)\" is there already: give another --log-dir, or --overwrite-logs to replace the logs in this one"
        case .logFileIsThere(let path, false):
            "\"\(path)\" is a link, or no file, and a log would change what is behind it; choose another --log-dir"
        case .jobDirectory(let path, let part, let code):
            "cannot use the directory \(path)" + (part == path ? "" : ", of which \(part) cannot be made") + ": \(code); choose another"
        case .jobLock(let path, .system(_, _, let errno)):
            "cannot use the directory \(path): \(SystemCode(errno: errno)); choose another"
        case .jobLock(_, let error):
            error.description
        case .notOurs(let path):
            "\(path) is not of a job, and would be replaced by what is: choose another directory, or move it"
        case .guardian(let errno):
            "cannot fork the process that guards the workers: \(SystemCode(errno: errno))"
        case .loop(let error):
            error.description
        case .process(let error):
            error.description
        }
    }

    /// As a shell reports it: 127 for a program that is not there, 126 for one that cannot be run, else 1.
    package var status: Int32 {
        switch self {
        case .programNotFound: 127
        case .programNotExecutable, .workerNotStarted: 126
        default: 1
        }
    }
}
