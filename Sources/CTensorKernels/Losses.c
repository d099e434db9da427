#include "Functions.h"

CLONED(double, tensor_cross_entropy,
       (float *gradient, size_t *counted, ptrdiff_t *bad_row, const float *logits, const int32_t *labels,
        size_t rows, size_t classes), (gradient, counted, bad_row, logits, labels, rows, classes)) {
    double total = 0;
    *counted = 0;
    *bad_row = -1;
    for (size_t r = 0; r < rows; r++, logits += classes, gradient += gradient ? classes : 0) {
        int32_t label = labels[r];
        if (label == -1) {
            if (gradient)
                ELEMENTWISE
                for (size_t c = 0; c < classes; c++) gradient[c] = 0;
            continue;
        }
        if (label < 0 || (size_t)label >= classes) {
            *bad_row = (ptrdiff_t)r;
            return 0;
        }
        // Taken before the gradient, which may stand in the same place, is written.
        double wanted = logits[label];
        float lanes[LANES];
        for (int l = 0; l < LANES; l++) lanes[l] = -INFINITY;
        size_t c = 0;
        for (; c + LANES <= classes; c += LANES)
            for (int l = 0; l < LANES; l++) lanes[l] = logits[c + l] > lanes[l] ? logits[c + l] : lanes[l];
        for (int l = 0; c < classes; c++, l++) lanes[l] = logits[c] > lanes[l] ? logits[c] : lanes[l];
        float largest = lanes[0];
        for (int l = 1; l < LANES; l++) largest = lanes[l] > largest ? lanes[l] : largest;

        float sums[LANES] = {0};
        if (gradient) {
            ELEMENTWISE
            for (c = 0; c < classes; c++) gradient[c] = fast_exp_small(logits[c] - largest);
            for (c = 0; c + LANES <= classes; c += LANES)
                for (int l = 0; l < LANES; l++) sums[l] += gradient[c + l];
            for (int l = 0; c < classes; c++, l++) sums[l] += gradient[c];
        } else {
            for (c = 0; c + LANES <= classes; c += LANES)
                for (int l = 0; l < LANES; l++) sums[l] += fast_exp_small(logits[c + l] - largest);
            for (int l = 0; c < classes; c++, l++) sums[l] += fast_exp_small(logits[c] - largest);
        }
        for (int width = LANES / 2; width; width /= 2)
            for (int l = 0; l < width; l++) sums[l] += sums[l + width];
        // The difference of logits is exact in double, so that small losses keep their digits.
        total += (double)fast_log(sums[0]) + ((double)largest - wanted);
        *counted += 1;
        if (gradient) {
            float scale = 1 / sums[0];
            ELEMENTWISE
            for (c = 0; c < classes; c++) gradient[c] *= scale;
            gradient[label] -= 1;
        }
    }
    return total;
}
