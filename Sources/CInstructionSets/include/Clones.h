// What every file with kernels includes: one clone of a function an instruction set, chosen when it is called, and the
// rules by which all clones give the same bits.
#pragma once
#include "CInstructionSets.h"

// To the end of the file that includes this: a product and a sum are two operations, each of which rounds, unless FMA
// says that they are one. A compiler left to itself fuses what it can in the clones that have the instruction, and
// nothing in the others.
#pragma STDC FP_CONTRACT OFF

/// a * b + c, rounded once: of floats, doubles or vectors of them. Where the CPU has no such instruction the C library
/// does it: slow, and exact as well.
#define FMA(a, b, c) __builtin_elementwise_fma(a, b, c)

#define INLINE static inline __attribute__((always_inline))

/// Read by every kernel and written before `main`.
extern int lockstep_level;

/// CLONED(type, name, (parameters), (arguments)) { body }: a function whose body is there once an instruction set.
/// LOCAL_CLONED is the same for functions of one file.
#define CLONED(type, name, parameters, arguments) CLONES_OF(, type, name, parameters, arguments)
#define LOCAL_CLONED(type, name, parameters, arguments) CLONES_OF(static, type, name, parameters, arguments)

#if defined(__x86_64__)
#define AVX2_TARGET __attribute__((target("avx2,fma,bmi,bmi2")))
// Not "arch=x86-64-v4", by which loops use vectors of 256 bits: 10 to 30 % slower where those of 512 are.
#define AVX512_TARGET __attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi,bmi2")))
#define CLONES_OF(linkage, type, name, parameters, arguments)                                                                       \
    INLINE type name##_body parameters;                                                                                             \
    AVX512_TARGET static type name##_avx512 parameters { return name##_body arguments; }                                            \
    AVX2_TARGET static type name##_avx2 parameters { return name##_body arguments; }                                                \
    static type name##_baseline parameters { return name##_body arguments; }                                                        \
    linkage type name parameters {                                                                                                  \
        if (lockstep_level >= LOCKSTEP_AVX512) return name##_avx512 arguments;                                                      \
        if (lockstep_level == LOCKSTEP_AVX2) return name##_avx2 arguments;                                                          \
        return name##_baseline arguments;                                                                                           \
    }                                                                                                                               \
    INLINE type name##_body parameters
#else
#define CLONES_OF(linkage, type, name, parameters, arguments) linkage type name parameters
#endif
