#pragma once
#include "Kernel.h"
#include <math.h>
#include <string.h>

// Functions of one double by series, from sums, products and quotients that round one by one: no fused operations, so
// that they are as fast where those take a call.

/// ln x for normal x > 0: 2 atanh(s) with s = (m - 1) / (m + 1), |s| <= 0.172, as a series up to s^21.
INLINE double series_log(double x) {
    uint64_t bits;
    memcpy(&bits, &x, 8);
    int64_t e = (int64_t)(bits - 0x3fe6a09e667f3bcdULL) >> 52;
    bits -= (uint64_t)e << 52;
    double m;
    memcpy(&m, &bits, 8);
    double s = (m - 1) / (m + 1), w = s * s, p = 1.0 / 21;
    p = p * w + 1.0 / 19;
    p = p * w + 1.0 / 17;
    p = p * w + 1.0 / 15;
    p = p * w + 1.0 / 13;
    p = p * w + 1.0 / 11;
    p = p * w + 1.0 / 9;
    p = p * w + 1.0 / 7;
    p = p * w + 1.0 / 5;
    p = p * w + 1.0 / 3;
    return (double)(int32_t)e * 0.69314718055994530942 + 2 * (s + s * (w * p));
}

/// sin and cos of 2 pi x: x is brought to [-1/8, 1/8] of a turn, where Taylor's series are short.
INLINE void series_sincos(double x, double *sine, double *cosine) {
    // Adding 1.5 * 2^52 rounds to the nearest integer: the quarter turn nearest to x.
    double magic = 4 * x + 6755399441055744.0;
    double quarter = magic - 6755399441055744.0;
    double a = (x - 0.25 * quarter) * 6.28318530717958647692, w = a * a;
    double s = 1.0 / 355687428096000;
    s = s * w - 1.0 / 1307674368000;
    s = s * w + 1.0 / 6227020800;
    s = s * w - 1.0 / 39916800;
    s = s * w + 1.0 / 362880;
    s = s * w - 1.0 / 5040;
    s = s * w + 1.0 / 120;
    s = s * w - 1.0 / 6;
    s = a + a * (w * s);
    double c = -1.0 / 6402373705728000;
    c = c * w + 1.0 / 20922789888000;
    c = c * w - 1.0 / 87178291200;
    c = c * w + 1.0 / 479001600;
    c = c * w - 1.0 / 3628800;
    c = c * w + 1.0 / 40320;
    c = c * w - 1.0 / 720;
    c = c * w + 1.0 / 24;
    c = 1 - 0.5 * w + w * w * c;
    uint64_t bits;
    memcpy(&bits, &magic, 8);
    double swapped_s = bits & 1 ? c : s, swapped_c = bits & 1 ? s : c;
    *sine = bits & 2 ? -swapped_s : swapped_s;
    *cosine = (bits + 1) & 2 ? -swapped_c : swapped_c;
}

/// e^x, within 2 units in the last place: 0 below -708, where results would be denormal, infinity above 709.78. NaN
/// stays NaN.
INLINE double series_exp(double x) {
    double clamped = x < -708 ? -708 : x;
    clamped = clamped > 709.78 ? 709.78 : clamped;
    // x = n ln 2 + r; ln 2 in two parts, the first of which has few enough bits for n times it to be exact.
    double magic = clamped * 1.44269504088896338700 + 6755399441055744.0, n = magic - 6755399441055744.0;
    double r = clamped - n * 6.93147180369123816490e-01 - n * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    // 2^n in two halves, because 2^1024 is not a double.
    uint64_t bits;
    memcpy(&bits, &magic, 8);
    int64_t whole = (int64_t)(bits << 13) >> 13, half = whole >> 1;
    uint64_t powers[2] = {((uint64_t)half + 1023) << 52, ((uint64_t)(whole - half) + 1023) << 52};
    double first, second;
    memcpy(&first, &powers[0], 8);
    memcpy(&second, &powers[1], 8);
    double y = (1 + (r + r * r * p)) * first * second;
    y = x < -708 ? 0 : y;
    return x > 709.78 ? INFINITY : y;
}
