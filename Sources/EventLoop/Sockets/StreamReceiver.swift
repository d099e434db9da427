/// Who owns a stream's bytes: says where the next ones belong, and is told what came of reads and writes.
///
/// The stream calls these directly on the loop's thread; nothing is allocated or copied between the kernel and the memory that
/// `nextBuffer` names. Every method may stop reading, write, or close the stream.
package protocol StreamReceiver: AnyObject {
    /// The memory where the stream's next bytes belong: as many bytes as may be taken at once, at least 1. The memory is the
    /// receiver's and must stay valid until `received` or `ended`, which follows immediately.
    func nextBuffer(_ stream: TCPStream) -> UnsafeMutableRawBufferPointer

    /// `count` bytes, 1 or more, now stand at the start of the last `nextBuffer`.
    func received(_ stream: TCPStream, count: Int)

    /// Nothing more will be read: nil when the peer ended its half properly, else why reading failed. Reading has stopped.
    /// The stream stays open for writing and is the receiver's to close.
    func ended(_ stream: TCPStream, error: LoopError?)

    /// A write that returned `pending` is over and its memory is free again; with an error it was not sent, or only in part.
    func wrote(_ stream: TCPStream, token: UInt64, error: LoopError?)
}
