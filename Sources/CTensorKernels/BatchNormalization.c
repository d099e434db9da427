#include "Functions.h"

/// Rows of which squares are summed before they join the total: as in `tensor_sum_rows`, a long sum in float32 loses less.
enum { ROWS_A_BLOCK = 64 };

CLONED(void, tensor_batch_statistics,
       (float *mean, float *variance, const float *x, size_t rows, size_t columns, float *scratch),
       (mean, variance, x, rows, columns, scratch)) {
    tensor_sum_rows(mean, x, rows, columns, false);
    float share = rows ? 1 / (float)rows : 0;
    ELEMENTWISE
    for (size_t c = 0; c < columns; c++) {
        mean[c] *= share;
        variance[c] = 0;
    }
    // A second pass avoids E[x^2] - E[x]^2's cancellation.
    for (size_t first = 0; first < rows; first += ROWS_A_BLOCK) {
        size_t end = first + ROWS_A_BLOCK < rows ? first + ROWS_A_BLOCK : rows;
        ELEMENTWISE
        for (size_t c = 0; c < columns; c++) scratch[c] = 0;
        for (size_t r = first; r < end; r++) {
            const float *row = x + r * columns;
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) scratch[c] = FMA(row[c] - mean[c], row[c] - mean[c], scratch[c]);
        }
        ELEMENTWISE
        for (size_t c = 0; c < columns; c++) variance[c] += scratch[c];
    }
    ELEMENTWISE
    for (size_t c = 0; c < columns; c++) variance[c] *= share;
}

CLONED(void, tensor_batch_norm,
       (float *y, float *inverse, const float *x, const float *mean, const float *variance, const float *gain,
        const float *bias, size_t rows, size_t columns, float epsilon, bool relu),
       (y, inverse, x, mean, variance, gain, bias, rows, columns, epsilon, relu)) {
    for (size_t c = 0; c < columns; c++) inverse[c] = 1 / SQUARE_ROOT(variance[c] + epsilon);
    for (size_t r = 0; r < rows; r++, x += columns, y += columns) {
        if (relu)
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) {
                float v = FMA(x[c] - mean[c], inverse[c] * gain[c], bias[c]);
                y[c] = v < 0 ? 0 : v;
            }
        else
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) y[c] = FMA(x[c] - mean[c], inverse[c] * gain[c], bias[c]);
    }
}

CLONED(void, tensor_batch_norm_backward,
       (float *dx, bool accumulate, float *dgain, float *dbias, const float *dy, const float *x, const float *mean,
        const float *inverse, const float *gain, size_t rows, size_t columns, float *scratch),
       (dx, accumulate, dgain, dbias, dy, x, mean, inverse, gain, rows, columns, scratch)) {
    // With h = (x - mean) inverse: dbias = sum(dy), dgain = sum(dy h), dx = gain inverse (dy - dbias / R - h dgain / R).
    tensor_sum_rows(dbias, dy, rows, columns, false);
    ELEMENTWISE
    for (size_t c = 0; c < columns; c++) dgain[c] = 0;
    for (size_t first = 0; first < rows; first += ROWS_A_BLOCK) {
        size_t end = first + ROWS_A_BLOCK < rows ? first + ROWS_A_BLOCK : rows;
        ELEMENTWISE
        for (size_t c = 0; c < columns; c++) scratch[c] = 0;
        for (size_t r = first; r < end; r++) {
            const float *row = x + r * columns, *drow = dy + r * columns;
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) scratch[c] = FMA(drow[c], (row[c] - mean[c]) * inverse[c], scratch[c]);
        }
        ELEMENTWISE
        for (size_t c = 0; c < columns; c++) dgain[c] += scratch[c];
    }
    if (!dx) return;
    float share = rows ? 1 / (float)rows : 0;
    for (size_t r = 0; r < rows; r++, x += columns, dy += columns, dx += columns) {
        if (accumulate)
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) {
                float own = FMA((mean[c] - x[c]) * inverse[c], share * dgain[c], FMA(-share, dbias[c], dy[c]));
                dx[c] = FMA(gain[c] * inverse[c], own, dx[c]);
            }
        else
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) {
                float own = FMA((mean[c] - x[c]) * inverse[c], share * dgain[c], FMA(-share, dbias[c], dy[c]));
                dx[c] = gain[c] * inverse[c] * own;
            }
    }
}

CLONED(void, tensor_move_average, (float *average, const float *sum, float scale, float momentum, size_t n),
       (average, sum, scale, momentum, n)) {
    ELEMENTWISE
    for (size_t i = 0; i < n; i++) average[i] = FMA(momentum, FMA(sum[i], scale, -average[i]), average[i]);
}
