#include "Clones.h"
#include <stdlib.h>
#include <string.h>

int lockstep_level = LOCKSTEP_BASELINE;

static enum lockstep_kernels best = LOCKSTEP_BASELINE;
static enum lockstep_request request = LOCKSTEP_REQUEST_MET;
static bool has_bfloat16 = false;

static const char *const names[] = {"baseline", "avx2", "avx512"};
enum { COUNT = sizeof names / sizeof *names };

/// What AVX2_TARGET and AVX512_TARGET in Clones.h name. The answers know whether the system saves the registers, too.
static void ask_cpu(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi") ||
        !__builtin_cpu_supports("bmi2"))
        return;
    best = LOCKSTEP_AVX2;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512cd") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512vl"))
        return;
    best = LOCKSTEP_AVX512;
    has_bfloat16 = __builtin_cpu_supports("avx512bf16");
#endif
}

/// Before `main`, so that kernels need no test of whether the choice has been made.
__attribute__((constructor)) static void choose(void) {
    ask_cpu();
    lockstep_level = best;
    const char *asked = getenv("LOCKSTEP_CPU");
    if (!asked || !*asked) return;
    request = LOCKSTEP_REQUEST_UNKNOWN;
    for (int i = 0; i < COUNT; i++)
        if (strcmp(asked, names[i]) == 0)
            request = lockstep_set_kernels((enum lockstep_kernels)i) ? LOCKSTEP_REQUEST_MET : LOCKSTEP_REQUEST_MISSING;
}

enum lockstep_kernels lockstep_kernels_in_use(void) { return (enum lockstep_kernels)lockstep_level; }

enum lockstep_kernels lockstep_best_kernels(void) { return best; }

bool lockstep_uses_bfloat16(void) { return has_bfloat16 && lockstep_level == LOCKSTEP_AVX512; }

const char *lockstep_kernels_name(enum lockstep_kernels kernels) { return names[kernels]; }

enum lockstep_request lockstep_kernels_request(void) { return request; }

bool lockstep_set_kernels(enum lockstep_kernels kernels) {
    if (kernels > best) return false;
    lockstep_level = kernels;
    return true;
}
