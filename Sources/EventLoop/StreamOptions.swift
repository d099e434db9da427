/// What is set on every data socket.
package struct StreamOptions: Sendable {
    /// Send small writes at once instead of gathering them (TCP_NODELAY).
    package var noDelay = true
    /// Have the kernel probe a silent peer after this many seconds (SO_KEEPALIVE, TCP_KEEPIDLE); nil for never. This is the
    /// last resort, for a host that vanished: heartbeats find a lost peer far sooner.
    package var keepAliveSeconds: UInt32? = 30
    /// The kernel's buffers in bytes (SO_SNDBUF, SO_RCVBUF); nil leaves its automatic tuning in charge, which is mostly best.
    package var sendBufferBytes: Int32?
    package var receiveBufferBytes: Int32?

    package init(
        noDelay: Bool = true, keepAliveSeconds: UInt32? = 30, sendBufferBytes: Int32? = nil,
        receiveBufferBytes: Int32? = nil
    ) {
        self.noDelay = noDelay
        self.keepAliveSeconds = keepAliveSeconds
        self.sendBufferBytes = sendBufferBytes
        self.receiveBufferBytes = receiveBufferBytes
    }
}
