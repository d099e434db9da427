#pragma once

// How a process that computes stands towards signals and descriptors.
//
// The rule: a thread that computes takes no signal. Kernels may use the stack pointer in ways in which a signal frame would destroy
// memory, and a handler on a compute thread is a pause that nobody asked for. So compute threads, and every thread that the library
// starts, have all signals blocked, and one thread, which does nothing else, takes them with whatever dispositions the process has.
//
// C because a constructor must run before main, and because what runs in signal handlers and after fork(2) must not allocate.

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

/// Makes the calling thread one that takes no signals, but for those that its own faults raise (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP,
/// SIGSYS): they stay as they are. The first call in a process starts the thread that takes all others; what the caller had blocked
/// stays blocked there, unless it was blocked by whoever started the process and is a request to end (SIGINT, SIGTERM, SIGHUP, SIGUSR1).
/// Returns 0, or the errno with which there can be no thread; nothing has changed then. Cheap when repeated.
///
/// A child made by fork(2) begins with the signals that its thread took before this call. One made by posix_spawn(3) or vfork(2) begins with
/// those of its parent's thread: none.
int lockstep_compute_thread_enter(void);

/// pthread_create(3) for a thread that takes no signals: it begins with them blocked, so that not even its first instruction can be
/// interrupted. `stack_bytes` 0 is LOCKSTEP_THREAD_STACK; ulimit -s has no say. Returns 0 or an errno. For every thread of the library.
int lockstep_thread_create(pthread_t *thread, size_t stack_bytes, void *(*body)(void *), void *argument);

#define LOCKSTEP_THREAD_STACK ((size_t)1 << 20)

/// Whether the system would give the process so many further threads of the default kind at a time: 0, or the errno with which it would not.
/// Starts and ends them. For libraries that abort(3) where they get none.
int lockstep_threads_try(int count);

/// What the process as a whole is told once, at the beginning of whatever of the library it uses first: a reader that has gone (SIGPIPE) and a
/// file that may not grow (SIGXFSZ) are errors of one write and not the end; and as process 1 of a container, for which the kernel drops
/// signals without a handler, requests to end (SIGINT, SIGTERM and the like) end it with 128 + their number. Only dispositions that are
/// the default are changed. Programs that the process starts do not inherit the handlers; those that libuv starts, nothing of it.
void lockstep_process_begin(void);

/// Memory of so many bytes, aligned to a power of two, for free(3). Where there is none the process ends with status 1 and one line that says
/// for what it was, and what limits it; Swift's own allocations end in a backtrace.
void *lockstep_allocate(size_t bytes, size_t alignment, const char *purpose);

/// Whether the calling thread, now and by the kernel's own word, blocks the signal. For tests.
int lockstep_thread_blocks(int signal_number);

/// 1 on the thread that takes the process's signals for those that compute, 0 on all others.
int lockstep_thread_takes_signals(void);
