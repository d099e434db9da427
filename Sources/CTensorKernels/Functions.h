#pragma once
#include "Kernel.h"
#include <math.h>
#include <string.h>

// Elementary functions of one float, free of branches and of library calls, so that loops over them vectorise.

/// The compiler's own square root: the library's sets errno, which keeps loops from vectorising.
#define SQUARE_ROOT(x) __builtin_elementwise_sqrt(x)

/// For x between -87.3 and 88.72: n, the integer nearest to x / ln 2, and e^(x - n ln 2) - 1.
INLINE int32_t split_exp(float x, float *rest) {
    // Adding 1.5 * 2^23 rounds to the nearest integer, which is then found in the low bits.
    float magic = FMA(x, 1.44269504f, 12582912.0f);
    float n = magic - 12582912.0f;
    // ln 2 in two parts: the first has few enough bits for n times it to be exact.
    float r = FMA(n, -0.693359375f, x);
    r = FMA(n, 2.12194440e-4f, r);
    float p = 1.0f / 5040;
    p = FMA(p, r, 1.0f / 720);
    p = FMA(p, r, 1.0f / 120);
    p = FMA(p, r, 1.0f / 24);
    p = FMA(p, r, 1.0f / 6);
    p = FMA(p, r, 0.5f);
    *rest = FMA(p, r * r, r);
    uint32_t bits;
    memcpy(&bits, &magic, 4);
    return (int32_t)(bits - 0x4b400000u);
}

/// 2^n for n from -126 to 127.
INLINE float power_of_two(int32_t n) {
    uint32_t bits = ((uint32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return power;
}

/// e^x, within 2 units in the last place; 0 below -87.3 (no denormals), infinity above 88.72. NaN stays NaN.
INLINE float fast_exp(float x) {
    float clamped = x < -87.3f ? -87.3f : x;
    clamped = clamped > 88.72f ? 88.72f : clamped;
    float rest;
    int32_t n = split_exp(clamped, &rest), half = n >> 1;
    // In two halves, because 2^128 is not a float.
    float y = (rest + 1) * power_of_two(half) * power_of_two(n - half);
    y = x < -87.3f ? 0 : y;
    return x > 88.72f ? INFINITY : y;
}

/// The same for x up to about 80, where the result's exponent needs no splitting: what probabilities are made of.
INLINE float fast_exp_small(float x) {
    float rest, scale = power_of_two(split_exp(x < -87.3f ? -87.3f : x, &rest));
    float y = FMA(rest, scale, scale);
    return x < -87.3f ? 0 : y;
}

/// The natural logarithm, within 2 units in the last place for normal x > 0; -inf at 0, NaN below.
INLINE float fast_log(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    // m in [sqrt(1/2), sqrt(2)), x = m * 2^e.
    int32_t e = (int32_t)(bits - 0x3f3504f3u) >> 23;
    uint32_t m_bits = bits - ((uint32_t)e << 23);
    float m;
    memcpy(&m, &m_bits, 4);
    // ln m = 2 atanh(s): the series' odd powers, in s^2 <= 0.0295.
    float s = (m - 1) / (m + 1);
    float w = s * s;
    float p = 2.0f / 9;
    p = FMA(p, w, 2.0f / 7);
    p = FMA(p, w, 2.0f / 5);
    p = FMA(p, w, 2.0f / 3);
    float n = (float)e;
    float y = FMA(n, 0.693359375f, FMA(2.0f, s, FMA(s, w * p, n * -2.12194440e-4f)));
    y = x == 0 ? -INFINITY : y;
    y = x < 0 ? NAN : y;
    y = x == INFINITY ? x : y;
    return x == x ? y : x;
}

/// tanh, error below 2e-7.
INLINE float fast_tanh(float x) {
    float a = x < 0 ? -x : x;
    float e = fast_exp_small(-2 * a);
    float large = (1 - e) / (1 + e);
    // Near zero 1 - e cancels; Taylor's polynomial up to x^11 is good to 1e-8 there.
    float w = a * a;
    float p = -1382.0f / 155925;
    p = FMA(p, w, 62.0f / 2835);
    p = FMA(p, w, -17.0f / 315);
    p = FMA(p, w, 2.0f / 15);
    p = FMA(p, w, -1.0f / 3);
    float small = FMA(a, w * p, a);
    float y = a < 0.35f ? small : large;
    return x < 0 ? -y : y;
}

INLINE float fast_sigmoid(float x) {
    // e^-|x| never overflows.
    float e = fast_exp_small(x < 0 ? x : -x);
    float r = 1 / (1 + e);
    return x < 0 ? e * r : r;
}

/// Phi(x), the normal distribution's cumulative function, error below 2.5e-7, and its density.
INLINE void normal_distribution(float x, float *cumulative, float *density) {
    float z = (x < 0 ? -x : x) * 0.707106781f;
    float gauss = fast_exp_small(-0.5f * x * x);
    // erfc(z) e^(z^2) as a polynomial in t = 1 / (1 + 0.4 z): weighted least squares on [0, 7], relative error 3.4e-8.
    float t = 1 / FMA(0.4f, z, 1.0f);
    float p = 0.0326390769f;
    p = FMA(p, t, -0.0970173835f);
    p = FMA(p, t, -0.00891267333f);
    p = FMA(p, t, 0.198851117f);
    p = FMA(p, t, -0.000628185437f);
    p = FMA(p, t, 0.229565679f);
    p = FMA(p, t, 0.192037202f);
    p = FMA(p, t, 0.227925221f);
    p = FMA(p, t, 0.22553998f);
    float tail = 0.5f * (p * t) * gauss;
    *cumulative = x < 0 ? tail : 1 - tail;
    *density = 0.398942280f * gauss;
}
