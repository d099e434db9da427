import CLibuv

/// What every libuv handle has in common: heap memory for the `uv_*_t`, one owner thread, and a close that ends later.
///
/// The memory belongs to this object and is freed in libuv's close callback. From init to that callback libuv holds a
/// reference to the object (`data`), so a handle that nobody else keeps still works and still closes. Confined to the
/// loop's thread: not Sendable, and every call checks the thread.
package class Handle {
    package let loop: Loop
    /// The `uv_*_t`, seen as the `uv_handle_t` that each begins with.
    let raw: UnsafeMutablePointer<uv_handle_t>
    /// True from the first `close()` on. A closed handle must not be used, only released.
    package private(set) var isClosed = false
    private var onClosed: [() -> Void] = []

    /// Takes over memory in which libuv's init call has already succeeded.
    init<Concrete>(loop: Loop, initialized storage: UnsafeMutablePointer<Concrete>) {
        self.loop = loop
        // SAFETY: every concrete handle type of libuv starts with the fields of uv_handle_t; this is its documented cast.
        raw = UnsafeMutableRawPointer(storage).assumingMemoryBound(to: uv_handle_t.self)
        raw.pointee.data = Unmanaged.passRetained(self).toOpaque()
        loop.handleOpened()
    }

    /// Closes the handle; `completion` runs on the loop's thread once libuv has let go of it. Closing twice is harmless: the
    /// second completion also runs, when the first does. After the call no callback of the handle runs any more, except
    /// completions of writes that were pending, which report `canceled`.
    package final func close(_ completion: (() -> Void)? = nil) {
        loop.preconditionOnThread()
        if let completion {
            if isReleased { return completion() }
            onClosed.append(completion)
        }
        guard !isClosed else { return }
        isClosed = true
        willClose()
        beginClosing { raw in Handle.of(raw!).finishClosing() }
    }

    /// Has `action` run when libuv has let go of the handle, whoever closes it.
    func whenClosed(_ action: @escaping () -> Void) {
        onClosed.append(action)
    }

    /// For subclasses: hands the handle to `uv_close`, or to a call that does so.
    func beginClosing(_ callback: @escaping uv_close_cb) {
        uv_close(raw, callback)
    }

    /// For subclasses: called once, just before `uv_close`.
    func willClose() {}

    /// For subclasses: called once, in the close callback, to drop what they refer to.
    func didClose() {}

    /// The memory is gone: the close callback has run.
    private(set) var isReleased = false

    private func finishClosing() {
        // SAFETY: `data` holds the reference that init retained; libuv calls this once and never touches the memory again.
        let reference = Unmanaged<Handle>.fromOpaque(raw.pointee.data)
        isReleased = true
        didClose()
        UnsafeMutableRawPointer(raw).deallocate()
        loop.handleReleased()
        let completions = onClosed
        onClosed = []
        for completion in completions { completion() }
        reference.release()
    }

    /// The object behind a handle that libuv passes to a callback.
    static func of(_ raw: UnsafeMutablePointer<uv_handle_t>) -> Handle {
        // SAFETY: init stored a retained Handle in `data`, and callbacks come only between init and the close callback.
        Unmanaged<Handle>.fromOpaque(raw.pointee.data).takeUnretainedValue()
    }

    /// The object behind a handle, as the type that registered the callback.
    static func of<Concrete, Object: Handle>(
        _ storage: UnsafeMutablePointer<Concrete>, as: Object.Type = Object.self
    ) -> Object {
        // SAFETY: as above; the callback was registered by `Object` on its own handle, so the type is known.
        let raw = UnsafeMutableRawPointer(storage).assumingMemoryBound(to: uv_handle_t.self)
        return unsafeDowncast(of(raw), to: Object.self)
    }
}

/// Allocates a handle's memory and runs libuv's init call on it; frees the memory again when that fails.
func makeHandle<Concrete>(
    _ operation: StaticString, _ initialize: (UnsafeMutablePointer<Concrete>) -> Int32
) throws(LoopError) -> UnsafeMutablePointer<Concrete> {
    let storage = UnsafeMutablePointer<Concrete>.allocate(capacity: 1)
    let code = initialize(storage)
    guard code == 0 else {
        storage.deallocate()
        throw .system(operation: "\(operation)", code: SystemCode(code))
    }
    return storage
}
