import CLibuv

/// Names the calling thread, as `top -H` and debuggers show it (`pthread_setname_np`); cut to the kernel's 15 bytes.
package func nameThread(_ name: String) {
    lockstep_name_thread(name)
}
