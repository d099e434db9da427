/// Everything that the world can do to the event loop: what was tried, on what, and what came of it.
///
/// Each case prints as one line that says what, where and, where there is something to do, what to do.
package enum LoopError: Error, Equatable, CustomStringConvertible {
    /// The listener could not take its address.
    case listen(address: String, code: SystemCode)
    /// An incoming connection could not be accepted; the listener goes on listening.
    case accept(address: String, code: SystemCode)
    /// The name has no address.
    case resolve(host: String, code: SystemCode)
    /// The connection to this one address failed.
    case connect(address: String, code: SystemCode)
    /// No attempt succeeded before the deadline; `last` is the last attempt's outcome, if one finished.
    case connectDeadline(address: String, attempts: Int, after: Duration, last: SystemCode?)
    /// Reading from an open connection or pipe failed.
    case read(peer: String, code: SystemCode)
    /// Writing to an open connection failed.
    case write(peer: String, code: SystemCode)
    /// The program could not be started.
    case spawn(program: String, code: SystemCode)
    /// Any other call, named as libuv or libc names it.
    case system(operation: String, code: SystemCode)

    package var description: String {
        switch self {
        case .listen(let address, .addressInUse):
            "cannot listen on \(address): the port is in use; choose another"
        case .listen(let address, let code) where code == .invalid:
            "cannot listen on \(address): not a numeric address; give one of this host's, 0.0.0.0 or ::"
        case .listen(let address, let code):
            "cannot listen on \(address): \(code)"
        case .accept(let address, let code):
            "cannot accept a connection on \(address): \(code)"
        case .resolve(let host, let code):
            "cannot find an address for host \"\(host)\": \(code)"
        case .connect(let address, let code):
            "cannot connect to \(address): \(code)"
        case .connectDeadline(let address, let attempts, let after, let last):
            "cannot connect to \(address): gave up after \(after.secondsText) and \(attempts) "
                + (attempts == 1 ? "attempt" : "attempts") + (last.map { ", the last with: \($0)" } ?? "")
        case .read(let peer, let code):
            "connection to \(peer) lost while reading: \(code)"
        case .write(let peer, let code):
            "connection to \(peer) lost while writing: \(code)"
        case .spawn(let program, let code):
            "cannot start \"\(program)\": \(code)"
        case .system(let operation, let code):
            "\(operation) failed: \(code)"
        }
    }

    /// The operating system's verdict inside, whatever the operation was; nil only for a deadline before any verdict.
    package var code: SystemCode? {
        switch self {
        case .listen(_, let code), .accept(_, let code), .resolve(_, let code), .connect(_, let code),
            .read(_, let code), .write(_, let code), .spawn(_, let code), .system(_, let code):
            code
        case .connectDeadline(_, _, _, let last): last
        }
    }
}
