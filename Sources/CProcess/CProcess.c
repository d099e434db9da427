#define _GNU_SOURCE
#include "CProcess.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

// MARK: Before main

/// The mask that the process was started with.
static sigset_t inherited_mask;

/// Whatever opens a file or a socket next would get the number of a standard descriptor that is closed, and what is printed would land in it.
static void fill_standard_descriptors(void) {
    for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; descriptor++) {
        if (fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) continue;
        // The lowest free number is this one.
        if (open("/dev/null", O_RDWR) < 0) open("/", O_RDONLY | O_DIRECTORY);
    }
}

__attribute__((constructor(101))) static void before_main(void) {
    fill_standard_descriptors();
    pthread_sigmask(SIG_SETMASK, NULL, &inherited_mask);
}

// MARK: The thread that takes signals

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool has_signal_thread = false;
static bool watches_forks = false;
/// What the signal thread blocks, or is to block as soon as it has seen that.
static sigset_t signal_thread_mask;
static unsigned mask_version = 0;
static unsigned mask_applied = 0;

static _Thread_local bool is_compute_thread = false;
static _Thread_local bool takes_signals = false;
/// What the thread blocked before it became a compute thread.
static _Thread_local sigset_t mask_before;

/// Everything but what a thread's own faults raise: blocked, those would end the process past any handler.
static void fill_blocked(sigset_t *set) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigfillset(set);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) sigdelset(set, faults[i]);
}

_Noreturn static void *take_signals(void *unused) {
    (void)unused;
    prctl(PR_SET_NAME, "lockstep-signal", 0, 0, 0);
    takes_signals = true;
    pthread_mutex_lock(&mutex);
    for (;;) {
        pthread_sigmask(SIG_SETMASK, &signal_thread_mask, NULL);
        mask_applied = mask_version;
        pthread_cond_broadcast(&changed);
        while (mask_applied == mask_version) pthread_cond_wait(&changed, &mutex);
    }
}

/// What the signal thread is to block for a thread that blocked `before`.
static void mask_for(const sigset_t *before, sigset_t *mask) {
    static const int requests[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    *mask = *before;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        // Many runtimes' threads block everything, and so does what they start: that is nobody's wish.
        if (sigismember(&inherited_mask, requests[i]) == 1) sigdelset(mask, requests[i]);
    }
}

static void before_fork(void) { pthread_mutex_lock(&mutex); }

static void after_fork_in_parent(void) { pthread_mutex_unlock(&mutex); }

/// The child has this thread only, and nobody yet who takes signals for it.
static void after_fork_in_child(void) {
    pthread_mutex_init(&mutex, NULL);
    pthread_cond_init(&changed, NULL);
    has_signal_thread = false;
    mask_applied = mask_version;
    if (!is_compute_thread) return;
    is_compute_thread = false;
    pthread_sigmask(SIG_SETMASK, &mask_before, NULL);
}

/// Starts the signal thread, or has it take what it blocks and the caller did not. Under the mutex; waits until it is so.
static int hand_over(const sigset_t *before) {
    sigset_t mask;
    mask_for(before, &mask);
    if (has_signal_thread) {
        sigset_t both;
        sigandset(&both, &signal_thread_mask, &mask);
        signal_thread_mask = both;
        mask_version++;
    } else {
        signal_thread_mask = mask;
        mask_version++;
        pthread_t thread;
        int error = lockstep_thread_create(&thread, 0, take_signals, NULL);
        if (error != 0) {
            mask_version--;
            return error;
        }
        pthread_detach(thread);
        has_signal_thread = true;
        if (!watches_forks) watches_forks = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
    }
    pthread_cond_broadcast(&changed);
    while (mask_applied != mask_version) pthread_cond_wait(&changed, &mutex);
    return 0;
}

int lockstep_compute_thread_enter(void) {
    if (is_compute_thread) return 0;
    // Blocked first: from here on whatever comes waits for the signal thread.
    sigset_t blocked, before;
    fill_blocked(&blocked);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    pthread_mutex_lock(&mutex);
    int error = hand_over(&before);
    pthread_mutex_unlock(&mutex);
    if (error != 0) {
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return error;
    }
    mask_before = before;
    is_compute_thread = true;
    return 0;
}

int lockstep_thread_create(pthread_t *thread, size_t stack_bytes, void *(*body)(void *), void *argument) {
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) return error;
    error = pthread_attr_setstacksize(&attributes, stack_bytes == 0 ? LOCKSTEP_THREAD_STACK : stack_bytes);
    if (error == 0) {
        sigset_t blocked, before;
        fill_blocked(&blocked);
        pthread_sigmask(SIG_BLOCK, &blocked, &before);
        error = pthread_create(thread, &attributes, body, argument);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attributes);
    return error;
}

static void *wait_for_gate(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

int lockstep_threads_try(int count) {
    enum { MOST = 1024 };
    static pthread_t threads[MOST];
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    int error = 0, started = 0;
    pthread_mutex_lock(&one_at_a_time);
    pthread_mutex_lock(&gate);
    while (started < count && started < MOST && error == 0) {
        error = pthread_create(&threads[started], NULL, wait_for_gate, &gate);
        if (error == 0) started++;
    }
    pthread_mutex_unlock(&gate);
    while (started > 0) pthread_join(threads[--started], NULL);
    pthread_mutex_unlock(&one_at_a_time);
    return error;
}

int lockstep_thread_blocks(int signal_number) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    return sigismember(&mask, signal_number) == 1;
}

int lockstep_thread_takes_signals(void) { return takes_signals; }

// MARK: The process

static bool is_default(int number) {
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_DFL;
}

static void end_as_default_would(int number) { _exit(128 + number); }

void lockstep_process_begin(void) {
    if (is_default(SIGPIPE)) signal(SIGPIPE, SIG_IGN);
    if (is_default(SIGXFSZ)) signal(SIGXFSZ, SIG_IGN);
    if (getpid() != 1) return;
    static const int ending[] = {SIGHUP,  SIGINT,    SIGQUIT, SIGALRM, SIGTERM,   SIGUSR1,
                                 SIGUSR2, SIGVTALRM, SIGPROF, SIGXCPU, SIGSTKFLT, SIGIO, SIGPWR};
    for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++) {
        if (!is_default(ending[i])) continue;
        struct sigaction action = {.sa_handler = end_as_default_would};
        sigaction(ending[i], &action, NULL);
    }
}

// MARK: Memory

/// Writes with nothing but the stack.
_Noreturn static void end_for_lack_of_memory(size_t bytes, const char *purpose) {
    char line[512];
    const char *rank = getenv("RANK"), *world_size = getenv("WORLD_SIZE");
    bool has_rank = rank != NULL && world_size != NULL && strcmp(world_size, "1") != 0;
    struct rlimit limit;
    char limited[64] = "this machine, or the cgroup, has no more";
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        snprintf(limited, sizeof limited, "ulimit -v is %llu KiB", (unsigned long long)limit.rlim_cur / 1024);
    } else if (getrlimit(RLIMIT_DATA, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        snprintf(limited, sizeof limited, "ulimit -d is %llu KiB", (unsigned long long)limit.rlim_cur / 1024);
    }
    int length = snprintf(line, sizeof line, "lockstep: %s%.8s%sout of memory: %zu bytes for %s cannot be had: %s\n",
                          has_rank ? "rank " : "", has_rank ? rank : "", has_rank ? ": " : "", bytes, purpose, limited);
    if (length > 0) {
        size_t count = (size_t)length < sizeof line ? (size_t)length : sizeof line - 1;
        if (write(STDERR_FILENO, line, count) < 0) { /* Nobody is left to be told. */
        }
    }
    _exit(1);
}

void *lockstep_allocate(size_t bytes, size_t alignment, const char *purpose) {
    void *block = NULL;
    if (posix_memalign(&block, alignment, bytes == 0 ? 1 : bytes) != 0) end_for_lack_of_memory(bytes, purpose);
    return block;
}
