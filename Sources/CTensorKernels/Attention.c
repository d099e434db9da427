#include "Functions.h"

// Causal attention, one head of one sample after the other, BLOCK query rows at a time. A block of rows first ..< last sees
// keys 0 ..< last only, so that what the mask would throw away is mostly never computed. Probabilities live in scratch
// memory of one block and are computed again in the backward pass from the row's logarithm of the sum.

enum { BLOCK = 64 };

INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/// Floats that blocks of scores take, of which there are three in the backward pass.
static size_t score_floats(const struct tensor_attention *shape, bool backward) {
    size_t block = smaller(BLOCK, shape->positions) * shape->positions;
    return backward ? 3 * block : block;
}

/// Floats that any product of a block needs for itself.
static size_t product_floats(const struct tensor_attention *shape) {
    size_t T = shape->positions, D = shape->head_columns, rows = smaller(BLOCK, T);
    size_t scores = tensor_gemm_scratch(false, rows, T, D), values = tensor_gemm_scratch(false, rows, D, T);
    size_t transposed = tensor_gemm_scratch(true, T, D, rows), most = scores > values ? scores : values;
    return transposed > most ? transposed : most;
}

size_t tensor_attention_scratch(const struct tensor_attention *shape, bool backward) {
    return score_floats(shape, backward) + product_floats(shape);
}

/// Masks what comes after query row `row`: up to the end of a vector of LANES, within which a loop runs fastest, by `filler`; zero after
/// that. Gives where the zeros begin.
INLINE size_t mask_row(float *scores, size_t row, size_t width, float filler) {
    size_t used = smaller((row + LANES) / LANES * LANES, width);
    for (size_t c = row + 1; c < used; c++) scores[c] = filler;
    memset(scores + used, 0, (width - used) * sizeof(float));
    return used;
}

/// Turns scores of query row `row` into probabilities: softmax over keys 0 ... row, zero up to `width`.
INLINE float softmax_row(float *scores, size_t row, size_t width, float scale) {
    width = mask_row(scores, row, width, -INFINITY);
    float lanes[LANES];
    for (int l = 0; l < LANES; l++) lanes[l] = -INFINITY;
    size_t c = 0;
    for (; c + LANES <= width; c += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] = scores[c + l] > lanes[l] ? scores[c + l] : lanes[l];
    for (int l = 0; c < width; c++, l++) lanes[l] = scores[c] > lanes[l] ? scores[c] : lanes[l];
    float largest = lanes[0];
    for (int l = 1; l < LANES; l++) largest = lanes[l] > largest ? lanes[l] : largest;
    float shift = scale * largest;
    ELEMENTWISE
    for (c = 0; c < width; c++) scores[c] = fast_exp_small(FMA(scale, scores[c], -shift));
    float sums[LANES] = {0};
    for (c = 0; c + LANES <= width; c += LANES)
        for (int l = 0; l < LANES; l++) sums[l] += scores[c + l];
    for (int l = 0; c < width; c++, l++) sums[l] += scores[c];
    for (int w = LANES / 2; w; w /= 2)
        for (int l = 0; l < w; l++) sums[l] += sums[l + w];
    float inverse = 1 / sums[0];
    ELEMENTWISE
    for (c = 0; c < width; c++) scores[c] *= inverse;
    return shift + fast_log(sums[0]);
}

LOCAL_CLONED(void, softmax_block, (float *scores, float *log_sum, size_t first, size_t last, float scale),
             (scores, log_sum, first, last, scale)) {
    for (size_t row = first; row < last; row++)
        log_sum[row] = softmax_row(scores + (row - first) * last, row, last, scale);
}

/// Probabilities again, from scores and the rows' logarithms of the sum.
LOCAL_CLONED(void, recompute_block, (float *scores, const float *log_sum, size_t first, size_t last, float scale),
             (scores, log_sum, first, last, scale)) {
    for (size_t row = first; row < last; row++, scores += last) {
        size_t used = mask_row(scores, row, last, -INFINITY);
        float shift = log_sum[row];
        ELEMENTWISE
        for (size_t c = 0; c < used; c++) scores[c] = fast_exp_small(FMA(scale, scores[c], -shift));
    }
}

/// dscores = scale * p * (dp - delta), where delta is the row's sum of dout * out; in place in dp.
LOCAL_CLONED(void, softmax_backward_block,
             (float *dp, const float *p, const float *dout, const float *out, size_t stride, size_t columns,
              size_t first, size_t last, float scale), (dp, p, dout, out, stride, columns, first, last, scale)) {
    for (size_t row = first; row < last; row++, dp += last, p += last) {
        const float *a = dout + row * stride, *b = out + row * stride;
        float lanes[LANES] = {0};
        size_t c = 0;
        for (; c + LANES <= columns; c += LANES)
            for (int l = 0; l < LANES; l++) lanes[l] = FMA(a[c + l], b[c + l], lanes[l]);
        for (int l = 0; c < columns; c++, l++) lanes[l] = FMA(a[c], b[c], lanes[l]);
        for (int w = LANES / 2; w; w /= 2)
            for (int l = 0; l < w; l++) lanes[l] += lanes[l + w];
        float delta = lanes[0];
        size_t used = mask_row(dp, row, last, 0);
        ELEMENTWISE
        for (c = 0; c < used; c++) dp[c] = scale * p[c] * (dp[c] - delta);
    }
}

/// Dropout of a block of probabilities, each row from its own place in the stream of random numbers.
static void drop_block(const struct tensor_attention *shape, float *to, const float *from, size_t head, size_t first,
                       size_t last) {
    for (size_t row = first; row < last; row++)
        tensor_dropout(to + (row - first) * last, from + (row - first) * last, row + 1, shape->dropout_key,
                       ((uint64_t)head * shape->positions + row) * shape->positions, shape->dropout_threshold,
                       shape->dropout_scale, false);
    if (to != from)
        for (size_t row = first; row < last; row++)
            memset(to + (row - first) * last + row + 1, 0, (last - row - 1) * sizeof(float));
}

bool tensor_attention_forward(const struct tensor_attention *shape, float *out, float *log_sum, const float *qkv,
                              float *scratch) {
    size_t T = shape->positions, D = shape->head_columns, C = shape->heads * D;
    float *space = scratch + score_floats(shape, false);
    for (size_t head = 0; head < shape->samples * shape->heads; head++) {
        size_t sample = head / shape->heads, column = head % shape->heads * D;
        const float *q = qkv + sample * T * 3 * C + column, *k = q + C, *v = k + C;
        float *o = out + sample * T * C + column;
        for (size_t first = 0; first < T; first += BLOCK) {
            size_t last = smaller(first + BLOCK, T), rows = last - first;
            if (!tensor_gemm(false, true, rows, last, D, q + first * 3 * C, 3 * C, k, 3 * C, false, scratch, last, space))
                return false;
            softmax_block(scratch, log_sum + head * T, first, last, shape->scale);
            if (shape->dropout_threshold) drop_block(shape, scratch, scratch, head, first, last);
            if (!tensor_gemm(false, false, rows, D, last, scratch, last, v, 3 * C, false, o + first * C, C, space))
                return false;
        }
    }
    return true;
}

/// One block of rows of one head; the first block to come overwrites dk and dv, which the later ones see only a part of.
static bool backward_block(const struct tensor_attention *shape, size_t head, size_t first, size_t last, float *dq,
                           const float *dout, const float *q, const float *out, const float *log_sum,
                           float *scratch) {
    size_t T = shape->positions, D = shape->head_columns, C = shape->heads * D, rows = last - first;
    const float *k = q + C, *v = k + C;
    float *dk = dq + C, *dv = dk + C;
    size_t block = smaller(BLOCK, T) * T;
    float *p = scratch, *dp = scratch + block, *dropped = scratch + 2 * block, *space = scratch + 3 * block;
    bool adds = last != T;
    const float *queries = q + first * 3 * C, *douts = dout + first * C;

    if (!tensor_gemm(false, true, rows, last, D, queries, 3 * C, k, 3 * C, false, p, last, space)) return false;
    recompute_block(p, log_sum, first, last, shape->scale);
    if (!tensor_gemm(false, true, rows, last, D, douts, C, v, 3 * C, false, dp, last, space)) return false;
    const float *used = p;
    if (shape->dropout_threshold) {
        drop_block(shape, dropped, p, head, first, last);
        drop_block(shape, dp, dp, head, first, last);
        used = dropped;
    }
    if (!tensor_gemm(true, false, last, D, rows, used, last, douts, C, adds, dv, 3 * C, space)) return false;
    softmax_backward_block(dp, p, dout, out, C, D, first, last, shape->scale);
    if (!tensor_gemm(false, false, rows, D, last, dp, last, k, 3 * C, false, dq + first * 3 * C, 3 * C, space)) return false;
    return tensor_gemm(true, false, last, D, rows, dp, last, queries, 3 * C, adds, dk, 3 * C, space);
}

bool tensor_attention_backward(const struct tensor_attention *shape, float *dqkv, const float *dout, const float *qkv,
                               const float *out, const float *log_sum, float *scratch) {
    size_t T = shape->positions, D = shape->head_columns, C = shape->heads * D;
    for (size_t head = 0; head < shape->samples * shape->heads; head++) {
        size_t sample = head / shape->heads, column = head % shape->heads * D;
        size_t rows = sample * T;
        // Descending: the last block sees every key, so that it may overwrite where the others add.
        for (size_t blocks = (T + BLOCK - 1) / BLOCK; blocks > 0; blocks--) {
            size_t first = (blocks - 1) * BLOCK, last = smaller(first + BLOCK, T);
            if (!backward_block(shape, head, first, last, dqkv + rows * 3 * C + column, dout + rows * C + column,
                                qkv + rows * 3 * C + column, out + rows * C + column, log_sum + head * T, scratch))
                return false;
        }
    }
    return true;
}
