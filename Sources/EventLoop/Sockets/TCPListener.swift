import CLibuv
import Glibc

/// A listening TCP socket (`uv_tcp_t`). Confined to the loop's thread.
package final class TCPListener: Handle {
    /// The address in effect, with the port that the system chose if 0 was asked for.
    package let address: SocketAddress
    private let options: StreamOptions
    private let accepted: (Result<TCPStream, LoopError>) -> Void

    /// Listens on `host`, a name or a number, and `port`; 0 takes any free port. A name is looked up at once, which may take as long as
    /// the resolver does, and its first address is taken.
    ///
    /// `::` also takes IPv4 connections where the system allows it. `accepted` runs on the loop's thread with each new stream,
    /// which is then the callback's to keep or to close, or with the reason why a connection could not be accepted, after which
    /// the listener goes on. Throws `listen` when the address cannot be had; nothing is left open then.
    package init(
        loop: Loop, host: String, port: UInt16, backlog: Int32 = 511, options: StreamOptions = StreamOptions(),
        accepted: @escaping (Result<TCPStream, LoopError>) -> Void
    ) throws(LoopError) {
        var found = SocketAddress(host: host, port: port)
        if found == nil { found = try Resolution.now(loop: loop, host: host, port: port).first }
        guard let wanted = found else { throw .resolve(host: host, code: SystemCode(UV_EAI_NODATA.rawValue)) }
        let tcp: UnsafeMutablePointer<uv_tcp_t> = try makeHandle("uv_tcp_init") { uv_tcp_init(loop.raw, $0) }
        // SAFETY: uv_tcp_t begins with uv_stream_t; this is libuv's documented cast.
        let stream = UnsafeMutableRawPointer(tcp).assumingMemoryBound(to: uv_stream_t.self)
        // libuv keeps "in use" from bind and reports it from listen. The callback finds `data` set: it cannot run before init ends.
        var code = wanted.withPointer { uv_tcp_bind(tcp, $0, 0) }
        if code == 0 {
            code = uv_listen(stream, backlog) { handle, status in
                let listener: TCPListener = Handle.of(handle!)
                listener.connectionCame(status)
            }
        }
        self.options = options
        self.accepted = accepted
        address = SocketAddress { uv_tcp_getsockname(tcp, $0, $1) } ?? wanted
        super.init(loop: loop, initialized: tcp)
        guard code == 0 else {
            close()
            throw .listen(address: wanted.description, code: SystemCode(code))
        }
    }

    private func connectionCame(_ status: Int32) {
        loop.activity &+= 1
        guard status == 0 else {
            // libuv asks again at once, for as long as the connection waits: not as fast as it can.
            if [.outOfDescriptors, .outOfFiles].contains(SystemCode(status)) { usleep(10_000) }
            return accepted(.failure(.accept(address: address.description, code: SystemCode(status))))
        }
        do throws(LoopError) {
            let stream = try TCPStream(loop: loop)
            let code = raw.withMemoryRebound(to: uv_stream_t.self, capacity: 1) { server in
                stream.tcp.withMemoryRebound(to: uv_stream_t.self, capacity: 1) { uv_accept(server, $0) }
            }
            guard code == 0 else {
                stream.close()
                throw .accept(address: address.description, code: SystemCode(code))
            }
            stream.opened(options)
            accepted(.success(stream))
        } catch {
            accepted(.failure(error))
        }
    }
}
