// The threads of one worker's computation. What they share out is divided so that no sum depends on it.
//
// Threads look for work for a while before they sleep, since a training step has hundreds of operations one behind the other. They take no
// signals: all are blocked there, so that a handler never runs amid a computation.
#include "Pool.h"
#include "CProcess.h"
#include "CTensorKernels.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { MAXIMUM_THREADS = 256 };
/// Looks for work before a thread sleeps: about a twentieth of a millisecond.
enum { LOOKS = 2000 };

static atomic_int allowed = 1;

/// Held by the thread whose work the pool does.
static atomic_flag is_taken = ATOMIC_FLAG_INIT;

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    int threads;
    /// Sleeping threads. Changed with the mutex held.
    atomic_int sleeping;
    /// Counts the works; a change is what threads look for.
    atomic_uint works;
    /// The part that is next to be done. In the upper half stands the work that it belongs to, so that one who comes late gets none.
    atomic_ullong next;
    atomic_uint unfinished;
    void (*_Atomic body)(void *, size_t);
    void *_Atomic context;
    atomic_uint parts;
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/// Does parts of a work until there are none left.
static void take_part(unsigned work) {
    for (;;) {
        unsigned long long next = atomic_load(&pool.next);
        unsigned part = (unsigned)next;
        if ((unsigned)(next >> 32) != work || part >= atomic_load(&pool.parts)) return;
        void (*body)(void *, size_t) = atomic_load(&pool.body);
        void *context = atomic_load(&pool.context);
        // What was read belongs to this work if nobody else has moved `next` on meanwhile.
        if (!atomic_compare_exchange_weak(&pool.next, &next, next + 1)) continue;
        body(context, part);
        atomic_fetch_sub(&pool.unfinished, 1);
    }
}

static unsigned wait_for_work(unsigned last) {
    for (int look = 0; look < LOOKS; look++) {
        unsigned work = atomic_load(&pool.works);
        if (work != last) return work;
        relax();
    }
    pthread_mutex_lock(&pool.mutex);
    atomic_fetch_add(&pool.sleeping, 1);
    unsigned work;
    while ((work = atomic_load(&pool.works)) == last) pthread_cond_wait(&pool.wake, &pool.mutex);
    atomic_fetch_sub(&pool.sleeping, 1);
    pthread_mutex_unlock(&pool.mutex);
    return work;
}

static void *thread_main(void *argument) {
    (void)argument;
    for (unsigned work = 0;;) {
        work = wait_for_work(work);
        take_part(work);
    }
    return NULL;
}

/// Starts a thread that takes no signals.
static int start_thread(void) {
    pthread_t thread;
    int code = lockstep_thread_create(&thread, 0, thread_main, NULL);
    if (code == 0) pthread_detach(thread);
    return code;
}

int tensor_set_threads(int threads) {
    if (threads < 1 || threads > MAXIMUM_THREADS) return EINVAL;
    pthread_mutex_lock(&pool.mutex);
    int code = 0;
    while (code == 0 && pool.threads < threads - 1) {
        code = start_thread();
        if (code == 0) pool.threads++;
    }
    if (code == 0) atomic_store(&allowed, threads);
    pthread_mutex_unlock(&pool.mutex);
    return code;
}

size_t pool_threads(void) { return (size_t)atomic_load_explicit(&allowed, memory_order_relaxed); }

void pool_run(size_t parts, void (*body)(void *context, size_t part), void *context) {
    if (parts <= 1 || pool_threads() == 1 || atomic_flag_test_and_set(&is_taken)) {
        for (size_t part = 0; part < parts; part++) body(context, part);
        return;
    }
    unsigned work = atomic_load(&pool.works) + 1;
    // First what threads that come late from the work before would take a part by: none is left, whatever they read of the rest.
    atomic_store(&pool.next, (unsigned long long)work << 32 | UINT32_MAX);
    atomic_store(&pool.body, body);
    atomic_store(&pool.context, context);
    atomic_store(&pool.unfinished, (unsigned)parts);
    atomic_store(&pool.parts, (unsigned)parts);
    atomic_store(&pool.next, (unsigned long long)work << 32);
    atomic_store(&pool.works, work);
    if (atomic_load(&pool.sleeping)) {
        pthread_mutex_lock(&pool.mutex);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.mutex);
    }
    take_part(work);
    for (int look = 0; atomic_load(&pool.unfinished); look++) {
        relax();
        if (look > LOOKS) sched_yield();
    }
    atomic_flag_clear(&is_taken);
}
