import CLibuv

/// A doorbell: any thread rings it, and the loop's thread runs one fixed handler (`uv_async_t`).
///
/// Rings that come before the handler has run are one ring, so the owner keeps its own queue and drains it in the handler.
/// Ringing allocates nothing. Made and closed on the loop's thread; only `signal` may be called from elsewhere.
package final class Wake: Handle, @unchecked Sendable {
    // SAFETY (@unchecked Sendable): `signal` touches only the loop's lock, `isOpen` under that lock, and uv_async_send, which
    // libuv allows from any thread; the memory lives as long as the loop says open, and this object is not closed.

    private let handler: () -> Void
    private let async: UnsafeMutablePointer<uv_async_t>
    private var isOpen = true

    /// `handler` runs on the loop's thread after one or more rings. It must not keep the Wake's owner alive by itself: it is
    /// kept until the handle is closed.
    package init(loop: Loop, handler: @escaping () -> Void) throws(LoopError) {
        self.handler = handler
        async = try makeHandle("uv_async_init") { storage in
            uv_async_init(loop.raw, storage) { handle in
                let wake: Wake = Handle.of(handle!)
                guard !wake.isClosed else { return }
                wake.loop.activity &+= 1
                wake.handler()
            }
        }
        super.init(loop: loop, initialized: async)
    }

    /// Rings. From any thread. After `close` it does nothing.
    package func signal() {
        loop.signal { if isOpen { uv_async_send(async) } }
    }

    override func willClose() {
        loop.signal { isOpen = false }
    }
}
