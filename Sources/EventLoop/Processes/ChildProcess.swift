import CLibuv
import Glibc

/// A program that this process has started (`uv_process_t`), until it has ended and been waited for.
///
/// Confined to the loop's thread. libuv does the waiting, so that a pid is never signalled after it could have been reused.
package final class ChildProcess: Handle {
    /// What to start, and how.
    package struct Specification {
        /// A path, or a name that is looked for in PATH.
        package var program: String
        /// Without the program itself.
        package var arguments: [String]
        package var environment: Environment
        /// nil is this process's.
        package var directory: String?
        package var input = Input.null
        package var output = Output.inherit
        package var errors = Output.inherit
        /// Gives the child a session and a process group of its own, whose number is its pid: the terminal's Ctrl-C does not
        /// reach it, and `signalGroup` reaches all that it starts.
        package var ownGroup = false

        package init(program: String, arguments: [String] = [], environment: Environment = .current()) {
            self.program = program
            self.arguments = arguments
            self.environment = environment
        }
    }

    package enum Input {
        /// Empty.
        case null
        /// This process's own.
        case inherit
    }

    package enum Output {
        /// Thrown away.
        case null
        /// This process's own.
        case inherit
        /// Read through `ChildProcess.output` or `.errors`.
        case pipe
    }

    /// How a child ended.
    package enum Ending: Equatable, Sendable, CustomStringConvertible {
        case exited(status: Int32)
        case killed(by: Signal)

        /// As a shell reports it: the exit status, or 128 + the signal's number.
        package var status: Int32 {
            switch self {
            case .exited(let status): status
            case .killed(let signal): 128 + signal.rawValue
            }
        }

        package var isSuccess: Bool { self == .exited(status: 0) }

        package var description: String {
            switch self {
            case .exited(let status): "exited with status \(status)"
            case .killed(let signal): "was killed by \(signal)"
            }
        }
    }

    package let pid: Int32
    /// The reading ends of the child's piped outputs, not yet reading; the creator's to start and to close. They may go on after
    /// the child has ended, and for as long as anything that it started holds them.
    package let output: PipeReader?
    package let errors: PipeReader?
    /// nil while the child runs.
    package private(set) var ending: Ending?

    private let process: UnsafeMutablePointer<uv_process_t>
    private let ownGroup: Bool
    private let exited: (Ending) -> Void

    /// Starts the program. `exited` runs on the loop's thread when it has ended; the handle is then the callback's to close.
    ///
    /// Closing the handle earlier leaves the child running, unwatched. Throws `spawn` when the program is not there or not
    /// executable, or when the system refuses; nothing is left behind then.
    package init(
        loop: Loop, _ specification: Specification, exited: @escaping (Ending) -> Void
    ) throws(LoopError) {
        var out = ChildOutput()
        var err = ChildOutput()
        let process = UnsafeMutablePointer<uv_process_t>.allocate(capacity: 1)
        do throws(LoopError) {
            out = try ChildOutput(specification.output, descriptor: STDOUT_FILENO)
            err = try ChildOutput(specification.errors, descriptor: STDERR_FILENO)
            output = try out.makeReader(loop: loop, name: "the output of \(specification.program)")
            do throws(LoopError) {
                errors = try err.makeReader(loop: loop, name: "the errors of \(specification.program)")
            } catch {
                output?.close()
                throw error
            }
        } catch {
            out.close()
            err.close()
            process.deallocate()
            throw error
        }
        let code = specification.spawn(
            on: loop, process, output: out.container, errors: err.container,
            exited: { handle, status, signal in
                let child: ChildProcess = Handle.of(handle!)
                child.didExit(signal == 0 ? .exited(status: Int32(truncatingIfNeeded: status)) : .killed(by: Signal(signal)))
            })
        out.close()
        err.close()
        self.process = process
        self.exited = exited
        ownGroup = specification.ownGroup
        pid = code == 0 ? process.pointee.pid : 0
        super.init(loop: loop, initialized: process)
        guard code == 0 else {
            output?.close()
            errors?.close()
            close()
            throw .spawn(program: specification.program, code: SystemCode(code))
        }
    }

    private func didExit(_ ending: Ending) {
        self.ending = ending
        loop.activity &+= 1
        exited(ending)
    }

    /// Sends a signal to the child. Nothing happens once it has ended.
    package func signal(_ signal: Signal) {
        loop.preconditionOnThread()
        guard ending == nil, !isClosed else { return }
        uv_process_kill(process, signal.rawValue)
    }

    /// Whether anything is left in the child's own group. Right at the child's end: what it has started and left behind. The
    /// group's number cannot be anybody else's for as long as this stays true.
    package var groupHasMembers: Bool {
        ownGroup && pid > 1 && (kill(-pid, 0) == 0 || errno == EPERM)
    }

    /// Sends a signal to the child and to everything that it has started and that has not left its group. For children with a
    /// group of their own. After the child's end only while `groupHasMembers`: a free number may become somebody else's.
    package func signalGroup(_ signal: Signal) {
        loop.preconditionOnThread()
        precondition(ownGroup && pid > 1, "the child is in this process's own group")
        kill(-pid, signal.rawValue)
    }
}
