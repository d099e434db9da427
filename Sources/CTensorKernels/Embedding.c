#include "Kernel.h"

CLONED(ptrdiff_t, tensor_embed,
       (float *y, const float *table, const float *positions, const int32_t *indices, size_t count, size_t period,
        size_t vocabulary, size_t columns), (y, table, positions, indices, count, period, vocabulary, columns)) {
    for (size_t i = 0; i < count; i++, y += columns) {
        if (indices[i] < 0 || (size_t)indices[i] >= vocabulary) return (ptrdiff_t)i;
        const float *row = table + (size_t)indices[i] * columns;
        if (positions) {
            const float *position = positions + i % period * columns;
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) y[c] = row[c] + position[c];
        } else {
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) y[c] = row[c];
        }
    }
    return -1;
}

CLONED(void, tensor_embed_backward,
       (float *dtable, const float *dy, const int32_t *indices, size_t count, size_t columns),
       (dtable, dy, indices, count, columns)) {
    for (size_t i = 0; i < count; i++, dy += columns) {
        float *row = dtable + (size_t)indices[i] * columns;
        ELEMENTWISE
        for (size_t c = 0; c < columns; c++) row[c] += dy[c];
    }
}

CLONED(void, tensor_embed_positions_backward,
       (float *dpositions, bool accumulate, const float *dy, size_t count, size_t period, size_t columns),
       (dpositions, accumulate, dy, count, period, columns)) {
    size_t width = period * columns;
    for (size_t first = 0; first < count; first += period, dy += width) {
        if (first || accumulate)
            ELEMENTWISE
            for (size_t c = 0; c < width; c++) dpositions[c] += dy[c];
        else
            ELEMENTWISE
            for (size_t c = 0; c < width; c++) dpositions[c] = dy[c];
    }
}
