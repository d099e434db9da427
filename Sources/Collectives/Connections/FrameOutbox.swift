import EventLoop
import Glibc

/// Frames on their way out over one socket, in order; several leave in one call.
///
/// Owns room for `capacity` frames, not their bytes. Allocates nothing after init.
struct FrameOutbox: ~Copyable {
    private struct Frame {
        var header: UnsafeRawBufferPointer
        var body: UnsafeRawBufferPointer
        var token: Int

        var isEmpty: Bool { header.isEmpty && body.isEmpty }
    }

    private var frames: [Frame]
    private var first = 0
    private var count = 0
    /// What one call is given.
    private let pieces = UnsafeMutableBufferPointer<iovec>.allocate(capacity: 2 * FrameOutbox.framesAtOnce)
    private static let framesAtOnce = 8

    init(capacity: Int) {
        let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
        frames = Array(repeating: Frame(header: nothing, body: nothing, token: 0), count: capacity)
    }

    deinit {
        pieces.deallocate()
    }

    var isEmpty: Bool { count == 0 }

    /// Puts a frame behind the others. Its bytes stay where they are until `takeSent` gives the token.
    mutating func append(header: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, token: Int) {
        precondition(count < frames.count, "more frames on their way out than the windows allow")
        frames[(first + count) % frames.count] = Frame(header: header, body: body, token: token)
        count += 1
    }

    /// Makes one call for the frames at the front. `isAll` says that the kernel took all that it was offered.
    mutating func send(over socket: DataSocket) -> (isAll: Bool, failure: SystemCode?) {
        var used = 0
        var offered = 0
        for position in 0..<min(count, FrameOutbox.framesAtOnce) {
            let frame = frames[(first + position) % frames.count]
            used = offer(frame.header, at: used)
            used = offer(frame.body, at: used)
            offered += frame.header.count + frame.body.count
        }
        switch socket.send(UnsafeMutableBufferPointer(rebasing: pieces[..<used])) {
        case .moved(let bytes):
            drop(bytes)
            return (bytes == offered, nil)
        case .notNow, .ended: return (false, nil)
        case .failed(let code): return (false, code)
        }
    }

    /// Takes the first frame away if all of it has left; its token.
    mutating func takeSent() -> Int? {
        guard count > 0, frames[first].isEmpty else { return nil }
        let token = frames[first].token
        first = (first + 1) % frames.count
        count -= 1
        return token
    }

    /// Makes a piece of memory the next that a call is given, if it is not empty.
    private func offer(_ piece: UnsafeRawBufferPointer, at index: Int) -> Int {
        guard !piece.isEmpty else { return index }
        // SAFETY: sendmsg only reads through the pointer, whose type cannot say so.
        pieces[index] = iovec(iov_base: UnsafeMutableRawPointer(mutating: piece.baseAddress), iov_len: piece.count)
        return index + 1
    }

    private mutating func drop(_ bytes: Int) {
        var left = bytes
        var position = first
        while left > 0 {
            let header = min(left, frames[position].header.count)
            let body = min(left - header, frames[position].body.count)
            frames[position].header = UnsafeRawBufferPointer(rebasing: frames[position].header.dropFirst(header))
            frames[position].body = UnsafeRawBufferPointer(rebasing: frames[position].body.dropFirst(body))
            left -= header + body
            position = (position + 1) % frames.count
        }
    }
}
