// Products of floats in which what is too small for a normal number becomes zero, as in products of bfloat16. On x86-64 a mode of the CPU does
// that with the usual kernels; the modes of other CPUs differ from it in the last place.
#if !defined(__x86_64__)
#include "Clones.h"
#include <math.h>
#include <stdint.h>

typedef float flushed_vector __attribute__((vector_size(64)));
typedef uint32_t flushed_words __attribute__((vector_size(64)));

static inline __attribute__((always_inline)) flushed_vector flushed(flushed_vector x) {
    flushed_words tiny = (flushed_words)(((flushed_words)x & 0x7fffffffu) < 0x00800000u);
    return (flushed_vector)((flushed_words)x & ~(tiny & 0x7fffffffu));
}

/// A value is too small if it is so after it was rounded to 24 bits, whatever its exponent: below 2^-126 - 2^-151. Rounded results do not
/// tell where they are 2^-126, which is seldom.
static __attribute__((noinline)) void settle(float *sum, const float *x, const float *y, const float *before) {
    for (int i = 0; i < 16; i++) {
        if (fabsf(sum[i]) != 0x1p-126f) continue;
        // x * y is exact; so is the sum of `value` and `rest` (Knuth's two-sum).
        double product = (double)x[i] * y[i], addend = before[i], value = product + addend;
        double shifted = value - product, rest = (product - (value - shifted)) + (addend - shifted);
        double sign = value < 0 ? -1 : 1, distance = sign * value - (0x1p-126 - 0x1p-151);
        if (distance < 0 || (distance == 0 && sign * rest < 0)) sum[i] = (float)(sign * 0.0);
    }
}

#define MULTIPLY_ADD(sum, x, y) \
    do { \
        flushed_vector before = sum, factor = x, other = y; \
        sum = flushed(__builtin_elementwise_fma(factor, other, before)); \
        if (__builtin_reduce_or((flushed_words)(((flushed_words)(sum) & 0x7fffffffu) == 0x00800000u))) \
            settle((float *)&(sum), (const float *)&factor, (const float *)&other, (const float *)&before); \
    } while (0)
/// A sum of two floats that is too small to be normal is exact.
#define ADDED(x) flushed(x)
#define INSTANCE(name) flushing_##name
#define TARGET
#define ROWS 6
#define VECTORS 1
#include "ProductTiles.h"
#endif
