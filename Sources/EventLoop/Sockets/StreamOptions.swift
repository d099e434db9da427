/// What is set on every data socket.
package struct StreamOptions: Sendable {
    /// Send small writes at once instead of gathering them (TCP_NODELAY).
    package var noDelay = true
    /// Have the kernel probe a silent peer after this many seconds (SO_KEEPALIVE, TCP_KEEPIDLE); nil for never. This is the
    /// last resort, for a host that vanished: heartbeats find a lost peer far sooner.
    package var keepAliveSeconds: UInt32? = 30
    /// So many probes without an answer, a second apart, and the connection is lost; nil for the system's choice (TCP_KEEPCNT).
    package var keepAliveProbes: UInt32?
    /// The connection is lost when what was sent has not been acknowledged for so long (TCP_USER_TIMEOUT); nil for the system's choice, which
    /// is many minutes. Only where the peer reads what comes: one that does not for that long is taken for lost, too.
    package var unacknowledgedLimit: Duration?
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

    /// For conversations between hosts: silence of the peer's kernel for twice `patience` ends the connection, whatever its process does.
    package static func conversation(patience: Duration) -> StreamOptions {
        var options = StreamOptions()
        options.probe(after: patience)
        options.unacknowledgedLimit = patience * 2
        return options
    }

    /// Probes begin when nothing has come for `patience`, and go on for as long again.
    package mutating func probe(after patience: Duration) {
        let seconds = UInt32(clamping: max(1, patience.millisecondsRoundedUp / 1000))
        keepAliveSeconds = seconds
        keepAliveProbes = max(2, seconds)
    }
}
