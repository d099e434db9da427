#pragma once
#include <sys/prctl.h>
#include <uv.h>

// prctl is variadic, which Swift does not import.

// Names the calling thread; the kernel keeps the first 15 bytes.
static inline int lockstep_name_thread(const char *name) {
    return prctl(PR_SET_NAME, name, 0, 0, 0);
}
