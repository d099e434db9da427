import CLibuv
import CProcess
import Glibc
import Synchronization

/// One libuv event loop (`uv_loop_t`): sockets, timers, signals and children of one thread, and a way to wake it.
///
/// Threads: the loop belongs to one thread at a time, and so does every handle on it. At first that is the thread that made
/// the loop; `startThread` hands it to a new thread, and `stopAndJoin` hands it back. Only `enqueue`, `stop`, `startThread`,
/// `stopAndJoin`, `isOnThread` and `Wake.signal` may be called from other threads; everything else checks.
///
/// A loop must be closed (`close`, or `stopAndJoin`) before its last reference goes.
package final class Loop: @unchecked Sendable {
    // SAFETY (@unchecked Sendable): `wakeHandle` is sent to only under `queue`'s lock and only while `queue` says open; `owner`
    // and `stopRequested` are atomic; `thread` is written under `threadLock`; all other state is touched only by the owner
    // thread, which `preconditionOnThread` checks.

    let raw: UnsafeMutablePointer<uv_loop_t>
    private let wakeHandle: UnsafeMutablePointer<uv_async_t>
    private let queue = Mutex(Queue())
    /// Swapped with the queue's array while it is drained, so that neither loses its capacity.
    private var draining: [@Sendable () -> Void] = []
    private let owner: Atomic<UInt>
    private let stopRequested = Atomic<Bool>(false)
    private let thread = Mutex<pthread_t?>(nil)
    private var threadName = ""
    private var isRunning = false
    private var isClosed = false

    /// Handles opened and not yet released by libuv, for tests and for reports; the loop's own wake-up is not among them.
    package private(set) var openHandles = 0

    /// Counts the passes of the loop: events with the same number were found at the same time, and the order in which they are
    /// delivered says nothing about the order in which they happened.
    package private(set) var pass: UInt = 0

    /// Grows with every event that a handle of this loop delivers: how `runOnce` knows whether there was any.
    var activity: UInt = 0

    private struct Queue {
        var work: [@Sendable () -> Void] = []
        var isOpen = true
    }

    /// Makes a loop owned by the calling thread. A peer that hangs up is an error of one connection from here on, not the death of the
    /// process (`lockstep_process_begin`). Throws when the process is out of file descriptors.
    package init() throws(LoopError) {
        lockstep_process_begin()
        let loop = UnsafeMutablePointer<uv_loop_t>.allocate(capacity: 1)
        let code = uv_loop_init(loop)
        guard code == 0 else {
            loop.deallocate()
            throw .system(operation: "uv_loop_init", code: SystemCode(code))
        }
        do throws(LoopError) {
            wakeHandle = try makeHandle("uv_async_init") { storage in
                uv_async_init(loop, storage) { handle in
                    // SAFETY: the loop stores itself, unretained, below; it outlives its handles since close() comes first.
                    Unmanaged<Loop>.fromOpaque(handle!.pointee.data).takeUnretainedValue().drain()
                }
            }
        } catch {
            uv_loop_close(loop)
            loop.deallocate()
            throw error
        }
        raw = loop
        owner = Atomic(pthread_self())
        // The same pointer in both: so close() tells this handle from those that belong to a Handle.
        wakeHandle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        loop.pointee.data = wakeHandle.pointee.data
    }

    deinit {
        precondition(isClosed, "a Loop was dropped without close()")
        wakeHandle.deallocate()
        raw.deallocate()
    }

    // MARK: Threads

    /// True on the thread that the loop belongs to now.
    package var isOnThread: Bool { owner.load(ordering: .acquiring) == pthread_self() }

    /// Traps unless the calling thread owns the loop: a handle used elsewhere is our bug, and a data race besides.
    package func preconditionOnThread() {
        precondition(isOnThread, "a handle was used outside its loop's thread")
    }

    /// Runs `work` on the loop's thread, in the order of the calls, in one of the next iterations; never at once, not even
    /// when called on that thread. From any thread. Allocates for the closure: use `Wake` where that matters. Returns false,
    /// and drops the work, when the loop is closed or closing.
    @discardableResult
    package func enqueue(_ work: @escaping @Sendable () -> Void) -> Bool {
        queue.withLock { queue in
            guard queue.isOpen else { return false }
            queue.work.append(work)
            // One wake-up a batch is enough: the drain takes all that is there.
            if queue.work.count == 1 { uv_async_send(wakeHandle) }
            return true
        }
    }

    /// Makes `run` return after the iteration it is in. From any thread; once the loop is closed, nothing happens.
    package func stop() {
        stopRequested.store(true, ordering: .releasing)
        signal { uv_async_send(wakeHandle) }
    }

    /// Runs `send` unless the loop is closing: an async handle must never be sent to after that.
    func signal(_ send: () -> Void) {
        queue.withLock { queue in
            if queue.isOpen { send() }
        }
    }

    private func drain() {
        activity &+= 1
        queue.withLock { queue in swap(&queue.work, &draining) }
        for work in draining { work() }
        draining.removeAll(keepingCapacity: true)
    }

    /// Takes the loop over: from now on it belongs to the calling thread. The caller makes sure, by a lock of its own, that no other
    /// thread is using the loop or will, until that thread has taken it over in turn.
    package func claim() {
        owner.store(pthread_self(), ordering: .releasing)
    }

    // MARK: Running

    /// Runs the loop on the calling thread, its owner, until `stop()`. It does not return for lack of handles, since work may
    /// always come through `enqueue`. May be called again after it has returned.
    package func run() {
        preconditionOnThread()
        precondition(!isRunning && !isClosed, "run() inside run(), or after close()")
        isRunning = true
        defer { isRunning = false }
        while !stopRequested.exchange(false, ordering: .acquiringAndReleasing) {
            pass &+= 1
            uv_run(raw, UV_RUN_ONCE)
        }
    }

    /// One iteration: delivers what is ready, and with `waiting` sleeps until something is. For a thread that drives the loop
    /// by itself between other work. Returns whether anything was delivered.
    @discardableResult
    package func runOnce(waiting: Bool = false) -> Bool {
        preconditionOnThread()
        precondition(!isRunning && !isClosed, "runOnce() inside run(), or after close()")
        isRunning = true
        defer { isRunning = false }
        let before = activity
        pass &+= 1
        uv_run(raw, waiting ? UV_RUN_ONCE : UV_RUN_NOWAIT)
        return activity != before
    }

    /// Hands the loop to a new thread, which runs it until `stopAndJoin`. The name is cut to the kernel's 15 bytes.
    /// Throws when the system refuses a thread; the loop then still belongs to the caller.
    package func startThread(name: String) throws(LoopError) {
        preconditionOnThread()
        threadName = name
        let code: Int32 = thread.withLock { thread in
            precondition(thread == nil && !isClosed, "the loop already has its thread")
            var created = pthread_t()
            let code = lockstep_thread_create(
                &created, 0,
                { argument in
                    // SAFETY: balances the passRetained below; the thread keeps the loop alive while it runs.
                    Unmanaged<Loop>.fromOpaque(argument!).takeRetainedValue().threadMain()
                    return nil
                }, Unmanaged.passRetained(self).toOpaque())
            guard code == 0 else {
                Unmanaged.passUnretained(self).release()
                return code
            }
            // The new thread writes the same value; whoever comes first, this thread has lost the loop from here on.
            owner.store(created, ordering: .releasing)
            thread = created
            return 0
        }
        guard code == 0 else { throw .system(operation: "pthread_create", code: SystemCode(errno: code)) }
    }

    private func threadMain() {
        owner.store(pthread_self(), ordering: .releasing)
        nameThread(threadName)
        run()
        closeOnOwner()
    }

    /// Stops the thread that `startThread` started; it closes every handle that is still open, and the loop, before it ends.
    /// From any other thread. Work enqueued before this call has run when it returns.
    package func stopAndJoin() {
        precondition(!isOnThread, "a loop's thread cannot wait for itself")
        let joined = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        guard let joined else { return }
        enqueue { [self] in stop() }
        pthread_join(joined, nil)
        owner.store(pthread_self(), ordering: .releasing)
    }

    // MARK: Closing

    /// Closes every handle still open, waits for their close callbacks, then closes the loop. On the owner thread, outside
    /// `run`. Work enqueued before still runs; later `enqueue`s are refused. A name resolution in progress is waited for (the
    /// resolver's own time limit bounds it). Harmless when repeated.
    package func close() {
        preconditionOnThread()
        precondition(!isRunning, "close() inside run()")
        closeOnOwner()
    }

    private func closeOnOwner() {
        guard !isClosed else { return }
        let last = queue.withLock { queue in
            queue.isOpen = false
            defer { queue.work = [] }
            return queue.work
        }
        for work in last { work() }
        isClosed = true
        // Close callbacks may open further handles (they should not, but a reconnecting owner might): go on until none is left.
        repeat {
            uv_walk(
                raw,
                { handle, _ in
                    guard let handle, uv_is_closing(handle) == 0 else { return }
                    if handle.pointee.type == UV_ASYNC && handle.pointee.data == uv_handle_get_loop(handle).pointee.data {
                        uv_close(handle, nil)
                    } else {
                        Handle.of(handle).close()
                    }
                }, nil)
            uv_run(raw, UV_RUN_DEFAULT)
        } while uv_loop_close(raw) != 0
        precondition(openHandles == 0, "libuv released fewer handles than were opened")
    }

    func handleOpened() {
        preconditionOnThread()
        openHandles += 1
    }

    func handleReleased() {
        openHandles -= 1
    }
}
