#include "CReductionKernels.h"
#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

static inline uint32_t magnitude(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffffu;
}

CLONES uint32_t lockstep_carrier_set(double *restrict carrier, const float *restrict x, size_t count, double magic) {
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t m = magnitude(x[i]);
        largest = m > largest ? m : largest;
        carrier[i] = ((double)x[i] + magic) - magic;
    }
    return largest;
}

CLONES uint32_t lockstep_carrier_accumulate(double *restrict carrier, const float *restrict x, size_t count, double magic) {
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t m = magnitude(x[i]);
        largest = m > largest ? m : largest;
        carrier[i] += ((double)x[i] + magic) - magic;
    }
    return largest;
}

CLONES uint32_t lockstep_largest_magnitude(const float *x, size_t count) {
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t m = magnitude(x[i]);
        largest = m > largest ? m : largest;
    }
    return largest;
}

CLONES void lockstep_add_f32(void *restrict partial, const void *restrict own, size_t count) {
    float *restrict p = partial;
    const float *restrict o = own;
    for (size_t i = 0; i < count; i++) p[i] += o[i];
}

CLONES void lockstep_add_f64(void *restrict partial, const void *restrict own, size_t count) {
    double *restrict p = partial;
    const double *restrict o = own;
    for (size_t i = 0; i < count; i++) p[i] += o[i];
}

CLONES void lockstep_finish_f32(void *result, const void *partial, const void *own, size_t count) {
    float *r = result;
    const float *p = partial, *o = own;
    for (size_t i = 0; i < count; i++) r[i] = p[i] + o[i];
}

CLONES void lockstep_finish_f64(void *result, const void *partial, const void *own, size_t count) {
    double *r = result;
    const double *p = partial, *o = own;
    for (size_t i = 0; i < count; i++) r[i] = p[i] + o[i];
}

CLONES void lockstep_finish_carrier(void *result, const void *partial, const void *own, size_t count) {
    float *r = result;
    const double *p = partial, *o = own;
    for (size_t i = 0; i < count; i++) r[i] = (float)(p[i] + o[i]);
}

CLONES void lockstep_round_carrier(void *restrict result, const void *restrict carrier, size_t count) {
    float *restrict r = result;
    const double *restrict c = carrier;
    for (size_t i = 0; i < count; i++) r[i] = (float)c[i];
}
