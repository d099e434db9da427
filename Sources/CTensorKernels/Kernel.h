#pragma once
#include "CTensorKernels.h"

/// One clone of the function an instruction set, chosen by the loader. A clone differs from the others in bits (fused
/// multiply-add), so results depend on the CPU kind, and on nothing else.
#if defined(__x86_64__) && defined(__ELF__) && __has_attribute(target_clones)
#define CLONED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONED
#endif

#define INLINE static inline __attribute__((always_inline))

/// Interleaved partial sums of a reduction: wide enough for one AVX-512 register or two AVX2 ones. A constant, so that the
/// order of every sum is the same on every CPU.
enum { LANES = 16 };

/// Before a loop whose iterations touch nothing of one another: operands may be the same memory, but never shifted
/// against each other. Without it, a loop that works in place falls back to one element at a time.
#define ELEMENTWISE _Pragma("clang loop vectorize(assume_safety) interleave(enable)")
