import CTensorKernels
import Glibc

/// Sets how many threads share the work of matrix products, convolutions and attention in this process; 1 at first. Results are the
/// same bits for any number.
///
/// Their threads take no signals, and live as long as the process. Throws what pthread_create(3) says where one cannot be started; the
/// number is then what it was.
public func setThreadsPerWorker(_ count: Int) throws(ThreadError) {
    precondition((1...256).contains(count), "a worker has 1 to 256 threads, not \(count)")
    let code = tensor_set_threads(Int32(count))
    guard code == 0 else { throw ThreadError(code: code) }
}

/// A thread could not be started.
public struct ThreadError: Error, Hashable, CustomStringConvertible {
    /// errno's.
    public let code: Int32

    public var description: String {
        "cannot start a thread to compute with: \(String(cString: strerror(code))); fewer --threads-per-worker, or a higher ulimit -u"
    }
}
