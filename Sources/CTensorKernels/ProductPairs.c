// Products of pairs of bfloat16 by VDPBF16PS: sum += x.odd * y.odd, then sum += x.even * y.even, each rounded once to nearest even, what is
// too small for a normal number becoming zero. It multiplies twice as much a cycle as FMA on AMD's CPUs, and half as much on Intel's.
#if defined(__x86_64__)
#include <immintrin.h>
#define INSTANCE(name) pairs_##name
#define TARGET __attribute__((target("avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#define ROWS 8
#define VECTORS 3
#define MULTIPLY_ADD(sum, x, y) sum = (vector)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(x), (__m512bh)(y))
#include "ProductTiles.h"
#endif
