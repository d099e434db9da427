import CLibuv

/// Delivers one of the process's signals to the loop's thread (`uv_signal_t`), in place of the signal's default action.
///
/// Several watchers, on any loops, may watch the same signal; each gets it. Signals of one kind that come close together may
/// be delivered once. Confined to the loop's thread.
package final class SignalWatcher: Handle {
    package let signal: Signal
    private let received: () -> Void

    /// Watches from now on until closed. Throws `system` for a signal that cannot be caught.
    package init(loop: Loop, signal: Signal, received: @escaping () -> Void) throws(LoopError) {
        self.signal = signal
        self.received = received
        let watcher: UnsafeMutablePointer<uv_signal_t> = try makeHandle("uv_signal_init") {
            uv_signal_init(loop.raw, $0)
        }
        super.init(loop: loop, initialized: watcher)
        let code = uv_signal_start(
            watcher,
            { handle, _ in
                let watcher: SignalWatcher = Handle.of(handle!)
                watcher.loop.activity &+= 1
                watcher.received()
            }, signal.rawValue)
        guard code == 0 else {
            close()
            throw .system(operation: "watching \(signal)", code: SystemCode(code))
        }
    }
}
