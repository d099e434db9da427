import CLibuv
import CProcess
import Glibc

/// One name resolution (`uv_getaddrinfo`), which libuv runs on its own threads.
enum Resolution {
    private final class Request {
        let host: String
        let completion: (Result<[SocketAddress], LoopError>) -> Void

        init(host: String, completion: @escaping (Result<[SocketAddress], LoopError>) -> Void) {
            self.host = host
            self.completion = completion
        }
    }

    /// Finds the stream addresses of `host`, in the order in which the system would try them, each with `port`. `completion`
    /// runs on the loop's thread, later. It cannot be cancelled; the resolver's own time limit bounds it.
    static func start(
        loop: Loop, host: String, port: UInt16, completion: @escaping (Result<[SocketAddress], LoopError>) -> Void
    ) throws(LoopError) {
        // libuv starts them all at the first use, and aborts where it gets one too few.
        let refusal = lockstep_threads_try(threadsOfLibuv)
        guard refusal == 0 else {
            throw .system(operation: "starting the threads that look up \(host)", code: SystemCode(errno: refusal))
        }
        let raw = UnsafeMutablePointer<uv_getaddrinfo_t>.allocate(capacity: 1)
        let request = Request(host: host, completion: completion)
        raw.pointee.data = Unmanaged.passRetained(request).toOpaque()
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        let code = uv_getaddrinfo(
            loop.raw, raw,
            { raw, code, list in
                // SAFETY: balances the passRetained above; libuv calls this once for each accepted request.
                let request = Unmanaged<Request>.fromOpaque(raw!.pointee.data).takeRetainedValue()
                raw!.deallocate()
                defer { uv_freeaddrinfo(list) }
                guard code == 0 else {
                    return request.completion(.failure(.resolve(host: request.host, code: SystemCode(code))))
                }
                request.completion(.success(Resolution.addresses(list)))
            }, host, String(port), &hints)
        guard code != 0 else { return }
        Unmanaged.passUnretained(request).release()
        raw.deallocate()
        throw .resolve(host: host, code: SystemCode(code))
    }

    /// The same for a caller that can wait: blocks the loop's thread, for as long as the resolver takes.
    static func now(loop: Loop, host: String, port: UInt16) throws(LoopError) -> [SocketAddress] {
        var request = uv_getaddrinfo_t()
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        // Without a callback the call is synchronous.
        let code = uv_getaddrinfo(loop.raw, &request, nil, host, String(port), &hints)
        guard code == 0 else { throw .resolve(host: host, code: SystemCode(code)) }
        defer { uv_freeaddrinfo(request.addrinfo) }
        return addresses(request.addrinfo)
    }

    /// As libuv has it: UV_THREADPOOL_SIZE, or four.
    private static var threadsOfLibuv: Int32 {
        let wish = getenv("UV_THREADPOOL_SIZE").flatMap { Int32(String(cString: $0)) } ?? 4
        return min(max(wish, 1), 1024)
    }

    private static func addresses(_ list: UnsafeMutablePointer<addrinfo>?) -> [SocketAddress] {
        var addresses: [SocketAddress] = []
        var next = list
        while let entry = next {
            if let address = entry.pointee.ai_addr.flatMap({ SocketAddress(UnsafePointer($0)) }) {
                addresses.append(address)
            }
            next = entry.pointee.ai_next
        }
        return addresses
    }
}
