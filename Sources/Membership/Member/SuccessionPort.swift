import EventLoop

/// Where a worker takes control connections if it has to take the coordinator's place. Until then connections wait,
/// unread.
///
/// Confined to the loop's thread.
package final class SuccessionPort {
    package let address: SocketAddress
    private let listener: TCPListener
    private let door: Door

    /// What the listener's callback reaches, so that it does not keep the port alive.
    private final class Door {
        var waiting: [TCPStream] = []
        var greet: ((TCPStream) -> Void)?

        /// With more than these, the one that has waited longest is a stranger's, and is closed.
        static let mostWaiting = 128
    }

    /// Listens on any free port of the address.
    package init(loop: Loop, host: String, options: StreamOptions) throws(LoopError) {
        let door = Door()
        self.door = door
        listener = try TCPListener(loop: loop, host: host, port: 0, options: options) { result in
            guard case .success(let stream) = result else { return }
            if let greet = door.greet { return greet(stream) }
            if door.waiting.count >= Door.mostWaiting { door.waiting.removeFirst().close() }
            door.waiting.append(stream)
        }
        address = listener.address
    }

    /// Greets the connections that wait, and from now on those that come.
    func open(_ greet: @escaping (TCPStream) -> Void) {
        door.greet = greet
        let waiting = door.waiting
        door.waiting = []
        for stream in waiting { greet(stream) }
    }

    package func close() {
        listener.close()
        for stream in door.waiting { stream.close() }
        door.waiting = []
    }
}
