#pragma once
#include <sys/types.h>

// A process that outlives the launcher by a moment, to end the workers of a launcher that was killed by SIGKILL.
//
// It knows the workers' process groups from what the launcher writes into a pipe, and sees the launcher's death as the
// pipe's end. It is forked, not executed, so that it needs no file of its own and is there before the first worker; this is
// C because between fork and exit a process with threads may only make async-signal-safe calls.

// The most groups that one guardian keeps; further ones are not guarded.
enum { LOCKSTEP_GUARDED_GROUPS = 4096 };

// Forks the guardian. On success returns 0 and sets its pid, which the caller waits for in the end, and the pipe to write
// to: an int32 in host order a message, a process group's number to guard it, its negative to forget it. Closing the pipe
// ends the guardian, which sends SIGKILL to every group that it still guards and waits a second at most for them to go.
// It keeps the open file `lock`, unless that is negative, and with it whatever lock the file has. On failure returns errno.
int lockstep_guardian_start(int lock, pid_t *guardian, int *pipe_to_guardian);
