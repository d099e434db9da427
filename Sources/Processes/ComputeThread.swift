import CProcess

/// A thread that computes takes no signal: all are blocked on it, and a thread of their own takes them (`CProcess.h` says why).
///
/// What makes a thread a compute thread is that it makes a `Tape` or a `Ring`, or calls `runWorker`; it stays one to its end.
package enum ComputeThread {
    /// Makes the calling thread one. Throws `thread` where the system has none left for the signals; nothing has changed then.
    package static func enter() throws(ProcessError) {
        let code = lockstep_compute_thread_enter()
        guard code == 0 else { throw .thread(purpose: "takes the process's signals", errno: code) }
    }

    /// The same where nothing can be thrown: a program that gets no thread computes on, and takes its signals where it did.
    package static func enterIfPossible() {
        _ = lockstep_compute_thread_enter()
    }
}
