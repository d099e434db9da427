#define _GNU_SOURCE
#include "CGuardian.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// Everything below runs in the forked process: only async-signal-safe calls, no heap.

static pid_t groups[LOCKSTEP_GUARDED_GROUPS];
static int group_count;

static void take(int32_t message) {
    if (message > 1) {
        if (group_count < LOCKSTEP_GUARDED_GROUPS) groups[group_count++] = message;
        return;
    }
    for (int i = 0; i < group_count; i++) {
        if (groups[i] == -message) groups[i--] = groups[--group_count];
    }
}

// Keeps nothing open but the pipe, as descriptor 0, and the lock, if there is one, as descriptor 1: whoever waits for the end of the
// launcher's output must not wait for us.
static void keep_only(int channel, int lock) {
    // Out of the way of 0 and 1, wherever it was.
    if (lock >= 0) lock = fcntl(lock, F_DUPFD, 3);
    if (channel != 0) dup2(channel, 0);
    if (lock >= 0) dup2(lock, 1);
    unsigned first = lock >= 0 ? 2 : 1;
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, ~0U, 0U) == 0) return;
#endif
    struct rlimit limit;
    rlim_t end = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur : 65536;
    for (rlim_t descriptor = first; descriptor < end; descriptor++) close((int)descriptor);
}

// A group's first process that waits to be reaped, by whoever that is now, is as good as gone; kill(2) does not tell.
static int is_zombie(pid_t pid) {
    char path[32] = "/proc/", digits[12], stat[512];
    int length = 0, end = 6;
    for (pid_t rest = pid; rest > 0; rest /= 10) digits[length++] = (char)('0' + rest % 10);
    while (length > 0) path[end++] = digits[--length];
    for (const char *rest = "/stat"; *rest != 0; rest++) path[end++] = *rest;
    path[end] = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 1;
    ssize_t count = read(file, stat, sizeof stat);
    close(file);
    // The state stands behind the name, which may hold anything.
    while (count > 2 && stat[count - 3] != ')') count--;
    return count > 2 && (stat[count - 1] == 'Z' || stat[count - 1] == 'X');
}

// Whoever finds the lock free may rely on it that nobody is left.
static void wait_until_gone(void) {
    for (int round = 0; round < 200; round++) {
        int left = 0;
        for (int i = 0; i < group_count; i++) left += kill(-groups[i], 0) == 0 && !is_zombie(groups[i]);
        if (left == 0) return;
        poll(NULL, 0, 5);
    }
}

_Noreturn static void guard(int channel, int lock) {
    // The launcher's signal handlers must not run here, and no Ctrl-C, hang-up or polite request may end this process.
    for (int number = 1; number < NSIG; number++) signal(number, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    keep_only(channel, lock);
    // A working directory would keep its file system from being unmounted.
    if (chdir("/") != 0) { /* It stays where it is; nothing depends on it. */
    }
    prctl(PR_SET_NAME, "lockstep-guard", 0, 0, 0);
    for (;;) {
        int32_t message;
        // Messages of this size are written and read whole.
        ssize_t count = read(0, &message, sizeof message);
        if (count < 0 && errno == EINTR) continue;
        if (count != (ssize_t)sizeof message) break;
        take(message);
    }
    for (int i = 0; i < group_count; i++) kill(-groups[i], SIGKILL);
    wait_until_gone();
    _exit(0);
}

int lockstep_guardian_start(int lock, pid_t *guardian, int *pipe_to_guardian) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return errno;
    // Blocked across the fork, so that no handler of the launcher's runs in the child before it has dropped them all.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) guard(ends[0], lock);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ends[0]);
    if (pid < 0) {
        close(ends[1]);
        return error;
    }
    *guardian = pid;
    *pipe_to_guardian = ends[1];
    return 0;
}
