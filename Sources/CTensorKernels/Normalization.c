#include "Functions.h"

INLINE float sum_lanes(float *lanes) {
    for (int width = LANES / 2; width; width /= 2)
        for (int l = 0; l < width; l++) lanes[l] += lanes[l + width];
    return lanes[0];
}

CLONED(void, tensor_layer_norm,
       (float *y, float *mean, float *inverse, const float *x, const float *gain, const float *bias, size_t rows,
        size_t columns, float epsilon), (y, mean, inverse, x, gain, bias, rows, columns, epsilon)) {
    for (size_t r = 0; r < rows; r++, x += columns, y += columns) {
        float lanes[LANES] = {0};
        size_t c = 0;
        for (; c + LANES <= columns; c += LANES)
            for (int l = 0; l < LANES; l++) lanes[l] += x[c + l];
        for (int l = 0; c < columns; c++, l++) lanes[l] += x[c];
        float m = sum_lanes(lanes) / (float)columns;

        // The second pass over a row that is in cache costs little and avoids E[x^2] - E[x]^2's cancellation.
        float squares[LANES] = {0};
        for (c = 0; c + LANES <= columns; c += LANES)
            for (int l = 0; l < LANES; l++) squares[l] = FMA(x[c + l] - m, x[c + l] - m, squares[l]);
        for (int l = 0; c < columns; c++, l++) squares[l] = FMA(x[c] - m, x[c] - m, squares[l]);
        float s = 1 / SQUARE_ROOT(sum_lanes(squares) / (float)columns + epsilon);

        mean[r] = m;
        inverse[r] = s;
        if (bias)
            ELEMENTWISE
            for (c = 0; c < columns; c++) y[c] = FMA((x[c] - m) * s, gain[c], bias[c]);
        else
            ELEMENTWISE
            for (c = 0; c < columns; c++) y[c] = (x[c] - m) * s * gain[c];
    }
}

CLONED(void, tensor_layer_norm_backward,
       (float *dx, bool accumulate_dx, float *dgain, bool accumulate_dgain, float *dbias, bool accumulate_dbias,
        const float *dy, const float *x, const float *mean, const float *inverse, const float *gain, size_t rows,
        size_t columns),
       (dx, accumulate_dx, dgain, accumulate_dgain, dbias, accumulate_dbias, dy, x, mean, inverse, gain, rows,
        columns)) {
    if (!accumulate_dgain)
        ELEMENTWISE
        for (size_t c = 0; c < columns; c++) dgain[c] = 0;
    if (dbias && !accumulate_dbias)
        ELEMENTWISE
        for (size_t c = 0; c < columns; c++) dbias[c] = 0;
    for (size_t r = 0; r < rows; r++, x += columns, dy += columns) {
        float m = mean[r], s = inverse[r];
        // With h = (x - m) s and g = dy * gain: dx = s (g - mean(g) - h mean(g h)).
        float sum_g[LANES] = {0}, sum_gh[LANES] = {0};
        size_t c = 0;
        for (; c + LANES <= columns; c += LANES)
            for (int l = 0; l < LANES; l++) {
                float h = (x[c + l] - m) * s, g = dy[c + l] * gain[c + l];
                sum_g[l] += g;
                sum_gh[l] = FMA(g, h, sum_gh[l]);
            }
        for (int l = 0; c < columns; c++, l++) {
            float h = (x[c] - m) * s, g = dy[c] * gain[c];
            sum_g[l] += g;
            sum_gh[l] = FMA(g, h, sum_gh[l]);
        }
        float mean_g = sum_lanes(sum_g) / (float)columns, mean_gh = sum_lanes(sum_gh) / (float)columns;

        ELEMENTWISE
        for (c = 0; c < columns; c++) dgain[c] = FMA(dy[c], (x[c] - m) * s, dgain[c]);
        if (dbias)
            ELEMENTWISE
            for (c = 0; c < columns; c++) dbias[c] += dy[c];
        if (!dx) continue;
        float *row = dx + r * columns;
        if (accumulate_dx)
            ELEMENTWISE
            for (c = 0; c < columns; c++)
                row[c] = FMA(s, FMA((m - x[c]) * s, mean_gh, FMA(dy[c], gain[c], -mean_g)), row[c]);
        else
            ELEMENTWISE
            for (c = 0; c < columns; c++) row[c] = s * FMA((m - x[c]) * s, mean_gh, FMA(dy[c], gain[c], -mean_g));
    }
}

INLINE float row_dot(const float *a, const float *b, size_t columns) {
    float lanes[LANES] = {0};
    size_t c = 0;
    for (; c + LANES <= columns; c += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] = FMA(a[c + l], b[c + l], lanes[l]);
    for (int l = 0; c < columns; c++, l++) lanes[l] = FMA(a[c], b[c], lanes[l]);
    return sum_lanes(lanes);
}

CLONED(void, tensor_unit_rows, (float *y, float *inverse, const float *x, size_t rows, size_t columns, float least),
       (y, inverse, x, rows, columns, least)) {
    for (size_t r = 0; r < rows; r++, x += columns, y += columns) {
        float norm = SQUARE_ROOT(row_dot(x, x, columns));
        // Written so that NaN passes through.
        float s = 1 / (norm < least ? least : norm);
        inverse[r] = s;
        ELEMENTWISE
        for (size_t c = 0; c < columns; c++) y[c] = x[c] * s;
    }
}

CLONED(void, tensor_unit_rows_backward,
       (float *dx, bool accumulate, const float *dy, const float *y, const float *inverse, size_t rows,
        size_t columns, float least), (dx, accumulate, dy, y, inverse, rows, columns, least)) {
    for (size_t r = 0; r < rows; r++, dx += columns, dy += columns, y += columns) {
        // A row shorter than the least was multiplied by a constant; others lose the part along themselves.
        float s = inverse[r], along = s < 1 / least ? row_dot(dy, y, columns) : 0;
        if (accumulate)
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) dx[c] = FMA(s, FMA(-along, y[c], dy[c]), dx[c]);
        else
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) dx[c] = s * FMA(-along, y[c], dy[c]);
    }
}
