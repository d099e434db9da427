import CLibuv

/// Up to two pieces of the caller's memory as libuv takes them (`uv_buf_t[2]`), on the stack.
struct GatherBuffers {
    private var buffers: (uv_buf_t, uv_buf_t)

    init(header: UnsafeRawBufferPointer?, body: UnsafeRawBufferPointer) {
        buffers = (
            Self.buffer(header ?? UnsafeRawBufferPointer(start: nil, count: 0)),
            Self.buffer(body)
        )
    }

    private static func buffer(_ memory: UnsafeRawBufferPointer) -> uv_buf_t {
        // SAFETY: libuv's write calls only read through the pointer, whose type cannot say so.
        let base = UnsafeMutableRawPointer(mutating: memory.baseAddress)?.assumingMemoryBound(to: CChar.self)
        return uv_buf_t(base: base, len: memory.count)
    }

    var isEmpty: Bool { buffers.0.len == 0 && buffers.1.len == 0 }

    /// Takes away the first `count` bytes, which have been written.
    mutating func drop(_ count: Int) {
        let first = min(count, buffers.0.len)
        if first > 0 {
            buffers.0.base += first
            buffers.0.len -= first
        }
        if count > first {
            buffers.1.base += count - first
            buffers.1.len -= count - first
        }
    }

    /// Lends the pieces that are not empty. Even when both are, one is lent, since libuv wants at least one.
    func withPointer(_ body: (UnsafePointer<uv_buf_t>, UInt32) -> Int32) -> Int32 {
        withUnsafePointer(to: buffers) { pair in
            pair.withMemoryRebound(to: uv_buf_t.self, capacity: 2) { first in
                if buffers.0.len == 0 { return body(first + 1, 1) }
                return body(first, buffers.1.len == 0 ? 1 : 2)
            }
        }
    }
}
