#include "Kernel.h"

CLONED(void, tensor_add, (float *y, const float *a, const float *b, size_t n), (y, a, b, n)) {
    ELEMENTWISE
    for (size_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

CLONED(void, tensor_subtract, (float *y, const float *a, const float *b, size_t n), (y, a, b, n)) {
    ELEMENTWISE
    for (size_t i = 0; i < n; i++) y[i] = a[i] - b[i];
}

CLONED(void, tensor_multiply, (float *y, const float *a, const float *b, size_t n, bool accumulate),
       (y, a, b, n, accumulate)) {
    if (accumulate)
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) y[i] = FMA(a[i], b[i], y[i]);
    else
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) y[i] = a[i] * b[i];
}

CLONED(void, tensor_scale, (float *y, const float *a, float s, size_t n, bool accumulate), (y, a, s, n, accumulate)) {
    if (accumulate)
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) y[i] = FMA(a[i], s, y[i]);
    else
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) y[i] = a[i] * s;
}

CLONED(void, tensor_fill, (float *y, float s, size_t n, bool accumulate), (y, s, n, accumulate)) {
    if (accumulate)
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) y[i] += s;
    else
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) y[i] = s;
}

CLONED(void, tensor_add_row, (float *y, const float *x, const float *row, size_t rows, size_t columns),
       (y, x, row, rows, columns)) {
    for (size_t r = 0; r < rows; r++)
        ELEMENTWISE
        for (size_t c = 0; c < columns; c++) y[r * columns + c] = x[r * columns + c] + row[c];
}

CLONED(void, tensor_sum_rows, (float *out, const float *x, size_t rows, size_t columns, bool accumulate),
       (out, x, rows, columns, accumulate)) {
    // A strip of columns at a time, so that the running sums stay in registers while the rows pass by.
    enum { STRIP = 64 };
    for (size_t c = 0; c < columns; c += STRIP) {
        size_t width = columns - c < STRIP ? columns - c : STRIP;
        float total[STRIP] = {0};
        for (size_t first = 0; first < rows; first += 64) {
            size_t last = rows - first < 64 ? rows : first + 64;
            float sum[STRIP] = {0};
            if (width == STRIP)
                for (size_t r = first; r < last; r++)
                    ELEMENTWISE
                    for (size_t j = 0; j < STRIP; j++) sum[j] += x[r * columns + c + j];
            else
                for (size_t r = first; r < last; r++)
                    ELEMENTWISE
                    for (size_t j = 0; j < width; j++) sum[j] += x[r * columns + c + j];
            ELEMENTWISE
            for (size_t j = 0; j < STRIP; j++) total[j] += sum[j];
        }
        if (accumulate)
            ELEMENTWISE
            for (size_t j = 0; j < width; j++) out[c + j] += total[j];
        else
            ELEMENTWISE
            for (size_t j = 0; j < width; j++) out[c + j] = total[j];
    }
}

INLINE double sum_of_lanes(double *lanes) {
    for (int width = LANES / 2; width; width /= 2)
        for (int l = 0; l < width; l++) lanes[l] += lanes[l + width];
    return lanes[0];
}

CLONED(double, tensor_sum, (const float *x, size_t n), (x, n)) {
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] += x[i + l];
    for (int l = 0; i < n; i++, l++) lanes[l] += x[i];
    return sum_of_lanes(lanes);
}

CLONED(double, tensor_dot, (const float *a, const float *b, size_t n), (a, b, n)) {
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] += (double)a[i + l] * b[i + l];
    for (int l = 0; i < n; i++, l++) lanes[l] += (double)a[i] * b[i];
    return sum_of_lanes(lanes);
}

CLONED(double, tensor_squared_error, (const float *a, const float *b, size_t n), (a, b, n)) {
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            double d = (double)a[i + l] - b[i + l];
            lanes[l] = FMA(d, d, lanes[l]);
        }
    for (int l = 0; i < n; i++, l++) {
        double d = (double)a[i] - b[i];
        lanes[l] = FMA(d, d, lanes[l]);
    }
    return sum_of_lanes(lanes);
}
