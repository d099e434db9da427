#include "Functions.h"

/// Without its sign, a float's bits order as an integer does: finite < infinity < NaN, so that nothing hides a NaN.
INLINE uint32_t magnitude(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits & 0x7fffffff;
}

/// Adds the squares of some elements, the first of which belongs to lane 0; gives the largest of `largest` and their magnitudes.
INLINE uint32_t add_squares(double *lanes, const float *x, size_t n, uint32_t largest) {
    uint32_t most[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            uint32_t bits = magnitude(x[i + l]);
            lanes[l] += (double)x[i + l] * x[i + l];
            most[l] = bits > most[l] ? bits : most[l];
        }
    for (int l = 0; i < n; i++, l++) {
        lanes[l] += (double)x[i] * x[i];
        most[l] = magnitude(x[i]) > most[l] ? magnitude(x[i]) : most[l];
    }
    for (int l = 0; l < LANES; l++) largest = most[l] > largest ? most[l] : largest;
    return largest;
}

CLONED(void, tensor_survey,
       (double *sums, float *largest, const float *x, size_t n, size_t block, const size_t *ends),
       (sums, largest, x, n, block, ends)) {
    size_t place = 0;
    uint32_t most = 0;
    for (size_t first = 0; first < n; first += block, sums++) {
        size_t last = n - first < block ? n : first + block;
        double lanes[LANES] = {0};
        // A block may hold ends of parts, and a part ends of blocks.
        while (place < last) {
            size_t end = *ends < last ? *ends : last;
            most = add_squares(lanes, x + place, end - place, most);
            place = end;
            if (place < *ends) break;
            memcpy(largest++, &most, 4);
            most = 0;
            ends++;
        }
        for (int width = LANES / 2; width; width /= 2)
            for (int l = 0; l < width; l++) lanes[l] += lanes[l + width];
        *sums = lanes[0];
    }
}

CLONED(float, tensor_max_magnitude, (const float *x, size_t n), (x, n)) {
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++) largest = magnitude(x[i]) > largest ? magnitude(x[i]) : largest;
    float result;
    memcpy(&result, &largest, 4);
    return result;
}
