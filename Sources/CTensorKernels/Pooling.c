#include "Kernel.h"
#include <string.h>

// Images are (N, H, W, C), so that the innermost loop runs over neighbouring channels.

static size_t outputs(size_t size, size_t kernel, size_t stride) { return size < kernel ? 0 : (size - kernel) / stride + 1; }

/// Whether every element of the input lies in exactly one window.
static bool is_tiled(const struct tensor_pooling *p) {
    return p->kernel_height == p->stride && p->kernel_width == p->stride && p->height % p->stride == 0 &&
           p->width % p->stride == 0;
}

CLONED(void, tensor_max_pool, (float *y, uint8_t *places, const float *x, const struct tensor_pooling *p),
       (y, places, x, p)) {
    size_t rows = outputs(p->height, p->kernel_height, p->stride), columns = outputs(p->width, p->kernel_width, p->stride);
    size_t channels = p->channels;
    for (size_t n = 0; n < p->samples; n++)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < columns; c++, y += channels, places += channels) {
                const float *corner = x + ((n * p->height + r * p->stride) * p->width + c * p->stride) * channels;
                memcpy(y, corner, channels * sizeof(float));
                memset(places, 0, channels);
                for (size_t place = 1; place < p->kernel_height * p->kernel_width; place++) {
                    const float *from =
                        corner + (place / p->kernel_width * p->width + place % p->kernel_width) * channels;
                    ELEMENTWISE
                    for (size_t i = 0; i < channels; i++) {
                        // The first of equals is taken, and NaN before all numbers, so that it is not lost.
                        bool takes = from[i] > y[i] || from[i] != from[i];
                        y[i] = takes ? from[i] : y[i];
                        places[i] = takes ? (uint8_t)place : places[i];
                    }
                }
            }
}

CLONED(void, tensor_max_pool_backward,
       (float *dx, bool accumulate, const float *dy, const uint8_t *places, const struct tensor_pooling *p),
       (dx, accumulate, dy, places, p)) {
    size_t rows = outputs(p->height, p->kernel_height, p->stride), columns = outputs(p->width, p->kernel_width, p->stride);
    size_t channels = p->channels;
    bool overwrites = !accumulate && is_tiled(p);
    if (!accumulate && !overwrites) memset(dx, 0, p->samples * p->height * p->width * channels * sizeof(float));
    for (size_t n = 0; n < p->samples; n++)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < columns; c++, dy += channels, places += channels) {
                float *corner = dx + ((n * p->height + r * p->stride) * p->width + c * p->stride) * channels;
                for (size_t place = 0; place < p->kernel_height * p->kernel_width; place++) {
                    float *to = corner + (place / p->kernel_width * p->width + place % p->kernel_width) * channels;
                    if (overwrites)
                        ELEMENTWISE
                        for (size_t i = 0; i < channels; i++) to[i] = places[i] == place ? dy[i] : 0;
                    else
                        ELEMENTWISE
                        for (size_t i = 0; i < channels; i++) to[i] += places[i] == place ? dy[i] : 0;
                }
            }
}

CLONED(void, tensor_average_pool, (float *y, const float *x, const struct tensor_pooling *p), (y, x, p)) {
    size_t rows = outputs(p->height, p->kernel_height, p->stride), columns = outputs(p->width, p->kernel_width, p->stride);
    size_t channels = p->channels;
    float share = 1 / (float)(p->kernel_height * p->kernel_width);
    for (size_t n = 0; n < p->samples; n++)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < columns; c++, y += channels) {
                const float *corner = x + ((n * p->height + r * p->stride) * p->width + c * p->stride) * channels;
                memcpy(y, corner, channels * sizeof(float));
                for (size_t place = 1; place < p->kernel_height * p->kernel_width; place++) {
                    const float *from =
                        corner + (place / p->kernel_width * p->width + place % p->kernel_width) * channels;
                    ELEMENTWISE
                    for (size_t i = 0; i < channels; i++) y[i] += from[i];
                }
                ELEMENTWISE
                for (size_t i = 0; i < channels; i++) y[i] *= share;
            }
}

CLONED(void, tensor_average_pool_backward,
       (float *dx, bool accumulate, const float *dy, const struct tensor_pooling *p), (dx, accumulate, dy, p)) {
    size_t rows = outputs(p->height, p->kernel_height, p->stride), columns = outputs(p->width, p->kernel_width, p->stride);
    size_t channels = p->channels;
    float share = 1 / (float)(p->kernel_height * p->kernel_width);
    if (!accumulate) memset(dx, 0, p->samples * p->height * p->width * channels * sizeof(float));
    for (size_t n = 0; n < p->samples; n++)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < columns; c++, dy += channels) {
                float *corner = dx + ((n * p->height + r * p->stride) * p->width + c * p->stride) * channels;
                for (size_t place = 0; place < p->kernel_height * p->kernel_width; place++) {
                    float *to = corner + (place / p->kernel_width * p->width + place % p->kernel_width) * channels;
                    ELEMENTWISE
                    for (size_t i = 0; i < channels; i++) to[i] = FMA(share, dy[i], to[i]);
                }
            }
}

void tensor_transpose(float *y, bool accumulate, const float *x, size_t matrices, size_t rows, size_t columns) {
    for (size_t m = 0; m < matrices; m++, x += rows * columns, y += rows * columns)
        for (size_t c = 0; c < columns; c++)
            for (size_t r = 0; r < rows; r++)
                y[c * rows + r] = accumulate ? y[c * rows + r] + x[r * columns + c] : x[r * columns + c];
}
