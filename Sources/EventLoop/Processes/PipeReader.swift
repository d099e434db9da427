import CLibuv
import Glibc

/// The reading end of a pipe (`uv_pipe_t`), such as a child's output. Confined to the loop's thread.
package final class PipeReader: Handle {
    /// Runs with each piece that was read; the memory is lent for the call.
    package var received: (UnsafeRawBufferPointer) -> Void = { _ in }
    /// Runs once when there is no more: every writer has closed its end (nil), or reading failed. The reader is the callback's
    /// to close.
    package var ended: (LoopError?) -> Void = { _ in }
    package private(set) var isReading = false

    private let name: String
    private let stream: UnsafeMutablePointer<uv_stream_t>
    private let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 64)

    /// Takes over `descriptor`, which is closed with the reader, or at once when this throws. `name` is for messages.
    package init(loop: Loop, descriptor: Int32, name: String) throws(LoopError) {
        self.name = name
        let pipe: UnsafeMutablePointer<uv_pipe_t>
        do throws(LoopError) {
            pipe = try makeHandle("uv_pipe_init") { uv_pipe_init(loop.raw, $0, 0) }
        } catch {
            memory.deallocate()
            Glibc.close(descriptor)
            throw error
        }
        // SAFETY: uv_pipe_t begins with uv_stream_t; this is libuv's documented cast.
        stream = UnsafeMutableRawPointer(pipe).assumingMemoryBound(to: uv_stream_t.self)
        super.init(loop: loop, initialized: pipe)
        let code = uv_pipe_open(pipe, descriptor)
        guard code == 0 else {
            Glibc.close(descriptor)
            close()
            throw .read(peer: name, code: SystemCode(code))
        }
    }

    /// Starts, or goes on, reading. Harmless when already reading.
    package func startReading() {
        loop.preconditionOnThread()
        precondition(!isClosed, "reading from a closed pipe")
        guard !isReading else { return }
        isReading = true
        let code = uv_read_start(
            stream,
            { handle, _, buffer in
                let reader: PipeReader = Handle.of(handle!)
                buffer!.pointee.base = reader.memory.baseAddress!.assumingMemoryBound(to: CChar.self)
                buffer!.pointee.len = reader.memory.count
            },
            { handle, count, _ in
                let reader: PipeReader = Handle.of(handle!)
                reader.didRead(count)
            })
        precondition(code == 0, "uv_read_start on a pipe that is not open for reading")
    }

    /// Stops reading, so that the writer has to wait once the pipe is full. Harmless when not reading.
    package func stopReading() {
        loop.preconditionOnThread()
        guard isReading else { return }
        isReading = false
        uv_read_stop(stream)
    }

    private func didRead(_ count: Int) {
        guard count != 0 else { return }
        loop.activity &+= 1
        if count > 0 { return received(UnsafeRawBufferPointer(rebasing: memory[..<count])) }
        stopReading()
        let code = SystemCode(Int32(count))
        ended(code.isEndOfFile ? nil : .read(peer: name, code: code))
    }

    override func willClose() {
        isReading = false
    }

    override func didClose() {
        memory.deallocate()
        received = { _ in }
        ended = { _ in }
    }
}
