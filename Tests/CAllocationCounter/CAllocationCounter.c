#include "CAllocationCounter.h"
#include <errno.h>
#include <execinfo.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static unsigned long count;
static __thread bool is_counted_out;
static __thread bool is_tracing;

enum { deepest = 48 };
static unsigned long traced_from = -1UL;
static int depth;
static void *trace[deepest];

unsigned long allocation_count(void) { return __atomic_load_n(&count, __ATOMIC_SEQ_CST); }

void allocation_count_without_this_thread(void) { is_counted_out = true; }

unsigned long allocation_count_traced(void) {
    // The first call of backtrace() allocates.
    is_tracing = true;
    backtrace(trace, 1);
    is_tracing = false;
    unsigned long now = allocation_count();
    __atomic_store_n(&traced_from, now, __ATOMIC_SEQ_CST);
    return now;
}

void allocation_trace_print(int descriptor) {
    is_tracing = true;
    if (depth > 0) backtrace_symbols_fd(trace, depth, descriptor);
    is_tracing = false;
}

static void counted(void) {
    if (is_counted_out || is_tracing) return;
    if (__atomic_fetch_add(&count, 1, __ATOMIC_RELAXED) != __atomic_load_n(&traced_from, __ATOMIC_RELAXED)) return;
    is_tracing = true;
    depth = backtrace(trace, deepest);
    is_tracing = false;
}

void *malloc(size_t size) {
    counted();
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    counted();
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size) {
    counted();
    return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
    counted();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **result, size_t alignment, size_t size) {
    *result = memalign(alignment, size);
    return *result ? 0 : ENOMEM;
}
