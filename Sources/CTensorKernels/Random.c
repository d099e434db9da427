#include "Functions.h"

// Philox4x32-10: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11.

/// Ten rounds in place; the counters are arrays of words, so that the loop over them vectorises.
#define PHILOX_WIDTH 8

INLINE void philox(uint32_t w0[PHILOX_WIDTH], uint32_t w1[PHILOX_WIDTH], uint32_t w2[PHILOX_WIDTH],
                   uint32_t w3[PHILOX_WIDTH], uint64_t key) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
        for (int l = 0; l < PHILOX_WIDTH; l++) {
            uint64_t p = (uint64_t)w0[l] * 0xD2511F53u, q = (uint64_t)w2[l] * 0xCD9E8D57u;
            uint32_t n0 = (uint32_t)(q >> 32) ^ w1[l] ^ k0, n2 = (uint32_t)(p >> 32) ^ w3[l] ^ k1;
            w1[l] = (uint32_t)q;
            w3[l] = (uint32_t)p;
            w0[l] = n0;
            w2[l] = n2;
        }
}

/// The words of PHILOX_WIDTH consecutive blocks, in element order.
INLINE void random_words(uint32_t out[4 * PHILOX_WIDTH], struct tensor_random_key key, uint32_t block) {
    uint32_t w0[PHILOX_WIDTH], w1[PHILOX_WIDTH], w2[PHILOX_WIDTH], w3[PHILOX_WIDTH];
    for (int l = 0; l < PHILOX_WIDTH; l++) {
        w0[l] = block + (uint32_t)l;
        w1[l] = key.a;
        w2[l] = key.b;
        w3[l] = key.c;
    }
    philox(w0, w1, w2, w3, key.key);
    for (int l = 0; l < PHILOX_WIDTH; l++) {
        out[4 * l] = w0[l];
        out[4 * l + 1] = w1[l];
        out[4 * l + 2] = w2[l];
        out[4 * l + 3] = w3[l];
    }
}

void tensor_random_block(uint32_t out[4], struct tensor_random_key key, uint32_t block) {
    uint32_t words[4 * PHILOX_WIDTH];
    random_words(words, key, block);
    memcpy(out, words, 16);
}

CLONED(void, tensor_dropout,
       (float *y, const float *x, size_t n, struct tensor_random_key key, uint64_t first, uint32_t threshold,
        float scale, bool accumulate), (y, x, n, key, first, threshold, scale, accumulate)) {
    enum { BATCH = 4 * PHILOX_WIDTH };
    uint32_t words[BATCH];
    for (size_t i = 0; i < n;) {
        uint64_t element = first + i;
        size_t skip = element % 4;
        random_words(words, key, (uint32_t)(element / 4));
        size_t count = BATCH - skip < n - i ? BATCH - skip : n - i;
        if (accumulate)
            ELEMENTWISE
            for (size_t j = 0; j < count; j++) y[i + j] += words[skip + j] >= threshold ? scale * x[i + j] : 0;
        else
            ELEMENTWISE
            for (size_t j = 0; j < count; j++) y[i + j] = words[skip + j] >= threshold ? scale * x[i + j] : 0;
        i += count;
    }
}

CLONED(void, tensor_random_uniform, (float *y, size_t n, struct tensor_random_key key, float low, float high),
       (y, n, key, low, high)) {
    enum { BATCH = 4 * PHILOX_WIDTH };
    uint32_t words[BATCH];
    for (size_t i = 0; i < n; i += BATCH) {
        random_words(words, key, (uint32_t)(i / 4));
        size_t count = n - i < BATCH ? n - i : BATCH;
        ELEMENTWISE
        for (size_t j = 0; j < count; j++)
            y[i + j] = low + (high - low) * ((float)(words[j] >> 8) * (1.0f / 16777216));
    }
}

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

CLONED(void, tensor_random_normal, (float *y, size_t n, struct tensor_random_key key, float deviation),
       (y, n, key, deviation)) {
    enum { BATCH = 4 * PHILOX_WIDTH };
    uint32_t words[BATCH];
    float values[BATCH];
    for (size_t i = 0; i < n; i += BATCH) {
        random_words(words, key, (uint32_t)(i / 4));
        for (int j = 0; j < BATCH / 2; j++) {
            // u is in (0, 1): its logarithm is finite.
            double u = ((double)words[2 * j] + 0.5) * (1.0 / 4294967296);
            double sine, cosine;
            series_sincos((double)words[2 * j + 1] * (1.0 / 4294967296), &sine, &cosine);
            double radius = deviation * SQUARE_ROOT(-2 * series_log(u));
            values[2 * j] = (float)(radius * cosine);
            values[2 * j + 1] = (float)(radius * sine);
        }
        size_t count = n - i < BATCH ? n - i : BATCH;
        memcpy(y + i, values, count * sizeof(float));
    }
}

double tensor_cosine_of_turns(double x) {
    double sine, cosine;
    series_sincos(x, &sine, &cosine);
    return cosine;
}
