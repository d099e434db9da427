#include "Functions.h"
#include "Series.h"

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
