import Glibc

/// The number under which the operating system knows this process.
enum ProcessNumber {
    static var own: Int32 { getpid() }
}
