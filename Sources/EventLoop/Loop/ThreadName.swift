import CLibuv

/// Names the calling thread, as `top -H` and debuggers show it (`pthread_setname_np`); cut to the kernel's 15 bytes.
///
/// Allocates nothing: on a busy machine a thread may have its first turn when others have long been at work.
package func nameThread(_ name: String) {
    name.withCString { _ = lockstep_name_thread($0) }
}
