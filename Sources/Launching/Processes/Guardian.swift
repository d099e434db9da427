import CGuardian
import Glibc

/// The process that ends the workers when this one is killed by SIGKILL.
///
/// SIGKILL leaves a launcher no time to end its workers, and Linux's parent-death signal reaches neither a worker that
/// was started through a shell nor one that the launcher's other threads started. So a forked process waits for the
/// launcher's end, which the kernel reports by closing a pipe, and then kills the groups that it watches. Stopped
/// workers die too.
struct Guardian: ~Copyable {
    private let pid: pid_t
    private let pipe: Int32

    /// Forks the guardian. Throws when the system is out of processes or descriptors.
    ///
    /// - Parameter lock: an open file that it keeps open, and so locked, until the groups are gone.
    init(lock: Int32? = nil) throws(LaunchError) {
        var pid: pid_t = 0
        var pipe: Int32 = -1
        let code = lockstep_guardian_start(lock ?? -1, &pid, &pipe)
        guard code == 0 else { throw .guardian(errno: code) }
        self.pid = pid
        self.pipe = pipe
    }

    /// From now on the group dies with this process.
    func watch(group: Int32) { send(group) }

    /// The group has ended; its number may be another group's soon.
    func forget(group: Int32) { send(-group) }

    private func send(_ message: Int32) {
        withUnsafeBytes(of: message) { message in
            // This fails only when the guardian has been killed. The run goes on without it.
            while write(pipe, message.baseAddress!, message.count) < 0 && errno == EINTR {}
        }
    }

    deinit {
        close(pipe)
        while waitpid(pid, nil, 0) < 0 && errno == EINTR {}
    }
}
