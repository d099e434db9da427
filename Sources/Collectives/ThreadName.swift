import Glibc

/// Names the calling thread, as `top -H` and debuggers show it; the kernel keeps 15 bytes.
func nameThread(_ name: String) {
    #if os(Linux)
        pthread_setname_np(pthread_self(), name)
    #endif
}
