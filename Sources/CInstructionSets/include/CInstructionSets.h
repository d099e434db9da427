#pragma once
// Which instructions the kernels of this process run with: the best that the CPU has, or less if the environment says
// so. All give the same bits; LOCKSTEP_CPU=baseline|avx2|avx512 lowers the choice for those who want to see that.

#include <stdbool.h>

/// Each holds what those before it hold. Only x86-64 has more than the first, which there is SSE2, and fused
/// multiply-add by the C library; on AArch64 it is NEON.
enum lockstep_kernels {
    LOCKSTEP_BASELINE = 0,
    /// AVX2 and FMA.
    LOCKSTEP_AVX2 = 1,
    /// AVX-512 F, BW, CD, DQ and VL.
    LOCKSTEP_AVX512 = 2,
};

/// The kernels in use. Chosen before `main`.
enum lockstep_kernels lockstep_kernels_in_use(void);

/// The best that this CPU has, whatever the environment says.
enum lockstep_kernels lockstep_best_kernels(void);

/// Whether kernels multiply bfloat16 by AVX512_BF16: the CPU has it, and LOCKSTEP_AVX512 is in use.
bool lockstep_uses_bfloat16(void);

/// "baseline", "avx2" or "avx512".
const char *lockstep_kernels_name(enum lockstep_kernels kernels);

/// What LOCKSTEP_CPU asked for when the process started.
enum lockstep_request {
    /// Nothing, or what is now in use.
    LOCKSTEP_REQUEST_MET,
    /// A word that means nothing here. The best kernels are in use.
    LOCKSTEP_REQUEST_UNKNOWN,
    /// Instructions that this CPU lacks. The best kernels are in use.
    LOCKSTEP_REQUEST_MISSING,
};
enum lockstep_request lockstep_kernels_request(void);

/// For tests, while no kernel runs: false, and nothing done, where the CPU lacks these instructions.
bool lockstep_set_kernels(enum lockstep_kernels kernels);
