#include "CReductionKernels.h"
#include "Clones.h"
#include <string.h>

static inline uint32_t magnitude(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffffu;
}

CLONED(uint32_t, lockstep_carrier_set,
       (double *restrict carrier, const float *restrict x, size_t count, double magic), (carrier, x, count, magic)) {
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t m = magnitude(x[i]);
        largest = m > largest ? m : largest;
        carrier[i] = ((double)x[i] + magic) - magic;
    }
    return largest;
}

CLONED(uint32_t, lockstep_carrier_accumulate,
       (double *restrict carrier, const float *restrict x, size_t count, double magic), (carrier, x, count, magic)) {
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t m = magnitude(x[i]);
        largest = m > largest ? m : largest;
        carrier[i] += ((double)x[i] + magic) - magic;
    }
    return largest;
}

CLONED(uint32_t, lockstep_largest_magnitude, (const float *x, size_t count), (x, count)) {
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t m = magnitude(x[i]);
        largest = m > largest ? m : largest;
    }
    return largest;
}

CLONED(void, lockstep_finish_carrier,
       (void *restrict result, const void *restrict partial, const void *restrict own, size_t count),
       (result, partial, own, count)) {
    float *restrict r = result;
    const double *restrict p = partial, *restrict o = own;
    for (size_t i = 0; i < count; i++) r[i] = (float)(p[i] + o[i]);
}

CLONED(void, lockstep_round_carrier, (void *restrict result, const void *restrict carrier, size_t count),
       (result, carrier, count)) {
    float *restrict r = result;
    const double *restrict c = carrier;
    for (size_t i = 0; i < count; i++) r[i] = (float)c[i];
}

// MARK: bfloat16

static inline float from_bf16(uint16_t value) {
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

static inline uint16_t to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    uint32_t quiet = (bits >> 16) | 0x40u;
    return (uint16_t)((bits & 0x7fffffffu) > LOCKSTEP_INFINITY_BITS ? quiet : rounded);
}

CLONED(void, lockstep_to_bf16, (uint16_t *restrict result, const float *restrict x, size_t count),
       (result, x, count)) {
    for (size_t i = 0; i < count; i++) result[i] = to_bf16(x[i]);
}

CLONED(void, lockstep_from_bf16, (float *restrict result, const uint16_t *restrict x, size_t count),
       (result, x, count)) {
    for (size_t i = 0; i < count; i++) result[i] = from_bf16(x[i]);
}

// MARK: The usual reductions

// One loop for each type and operation. The value expressions see a and b; NaN wins in both float forms because a comparison
// with it is false, and a is tested first.
#define LOOP(name, type, expression)                                                                                  \
    LOCAL_CLONED(void, name, (void *result, const void *partial, const void *own, size_t count),                      \
                 (result, partial, own, count)) {                                                                     \
        type *r = result;                                                                                             \
        const type *p = partial, *o = own;                                                                            \
        for (size_t i = 0; i < count; i++) {                                                                          \
            type a = p[i], b = o[i];                                                                                  \
            r[i] = (expression);                                                                                      \
        }                                                                                                             \
    }

LOOP(sum_f32, float, a + b)
LOOP(max_f32, float, a != a ? a : (a > b ? a : b))
LOOP(min_f32, float, a != a ? a : (a < b ? a : b))
LOOP(sum_f64, double, a + b)
LOOP(max_f64, double, a != a ? a : (a > b ? a : b))
LOOP(min_f64, double, a != a ? a : (a < b ? a : b))
LOOP(sum_i32, int32_t, (int32_t)((uint32_t)a + (uint32_t)b))
LOOP(max_i32, int32_t, a > b ? a : b)
LOOP(min_i32, int32_t, a < b ? a : b)
LOOP(sum_i64, int64_t, (int64_t)((uint64_t)a + (uint64_t)b))
LOOP(max_i64, int64_t, a > b ? a : b)
LOOP(min_i64, int64_t, a < b ? a : b)
LOOP(sum_bf16, uint16_t, to_bf16(from_bf16(a) + from_bf16(b)))
LOOP(max_bf16, uint16_t, from_bf16(a) != from_bf16(a) ? a : (from_bf16(a) > from_bf16(b) ? a : b))
LOOP(min_bf16, uint16_t, from_bf16(a) != from_bf16(a) ? a : (from_bf16(a) < from_bf16(b) ? a : b))

void lockstep_combine(enum lockstep_element element, enum lockstep_operation operation, void *result, const void *partial,
                      const void *own, size_t count) {
    static void (*const loops[5][3])(void *, const void *, const void *, size_t) = {
        {sum_f32, max_f32, min_f32}, {sum_f64, max_f64, min_f64}, {sum_i32, max_i32, min_i32},
        {sum_i64, max_i64, min_i64}, {sum_bf16, max_bf16, min_bf16},
    };
    loops[element - 1][operation - 1](result, partial, own, count);
}
