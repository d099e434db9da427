import CLibuv
import Processes

/// What the operating system (or libuv, or the resolver) said, as libuv's negative number.
///
/// Kept as a number so that callers can compare it; its name and text are made only when a message is printed.
package struct SystemCode: Equatable, Hashable, Sendable, CustomStringConvertible {
    package let rawValue: Int32

    package init(_ rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// From a positive `errno`, whose negative is what libuv uses on Unix.
    package init(errno: Int32) {
        rawValue = -errno
    }

    package static let addressInUse = SystemCode(UV_EADDRINUSE.rawValue)
    package static let canceled = SystemCode(UV_ECANCELED.rawValue)
    package static let connectionRefused = SystemCode(UV_ECONNREFUSED.rawValue)
    package static let connectionReset = SystemCode(UV_ECONNRESET.rawValue)
    package static let brokenPipe = SystemCode(UV_EPIPE.rawValue)
    package static let invalid = SystemCode(UV_EINVAL.rawValue)
    package static let noSuchFile = SystemCode(UV_ENOENT.rawValue)
    package static let outOfDescriptors = SystemCode(UV_EMFILE.rawValue)
    package static let outOfFiles = SystemCode(UV_ENFILE.rawValue)
    package static let permissionDenied = SystemCode(UV_EACCES.rawValue)
    package static let timedOut = SystemCode(UV_ETIMEDOUT.rawValue)

    /// Whether it says that packets do not arrive, and not that somebody has ended something.
    package var isSilence: Bool {
        [UV_ETIMEDOUT, UV_EHOSTUNREACH, UV_ENETUNREACH, UV_EHOSTDOWN].contains { rawValue == $0.rawValue }
    }

    /// Not an error: the peer has sent all it had.
    var isEndOfFile: Bool { rawValue == UV_EOF.rawValue }

    /// The symbolic name, such as `ECONNRESET` (`uv_err_name_r`).
    package var name: String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
            String(cString: uv_err_name_r(rawValue, buffer.baseAddress, buffer.count))
        }
    }

    /// The sentence for it, such as `connection reset by peer` (`uv_strerror_r`).
    package var text: String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
            String(cString: uv_strerror_r(rawValue, buffer.baseAddress, buffer.count))
        }
    }

    package var description: String {
        switch rawValue {
        case UV_EMFILE.rawValue: "\(text) (\(name)): the limit is \(DescriptorLimit.current().soft) (ulimit -n)"
        case UV_ENFILE.rawValue: "\(text) (\(name)): the whole machine has no more (fs.file-max)"
        default: "\(text) (\(name))"
        }
    }
}
