#include "Functions.h"

CLONED void tensor_sums_of_squares(double *sums, const float *x, size_t n, size_t block) {
    for (size_t first = 0; first < n; first += block, sums++) {
        size_t count = n - first < block ? n - first : block;
        double lanes[LANES] = {0};
        size_t i = 0;
        for (; i + LANES <= count; i += LANES)
            for (int l = 0; l < LANES; l++) lanes[l] += (double)x[first + i + l] * x[first + i + l];
        for (int l = 0; i < count; i++, l++) lanes[l] += (double)x[first + i] * x[first + i];
        for (int width = LANES / 2; width; width /= 2)
            for (int l = 0; l < width; l++) lanes[l] += lanes[l + width];
        *sums = lanes[0];
    }
}

CLONED float tensor_max_magnitude(const float *x, size_t n) {
    // Without its sign, a float's bits order as an integer does: finite < infinity < NaN, so that nothing hides a NaN.
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    float result;
    memcpy(&result, &largest, 4);
    return result;
}
