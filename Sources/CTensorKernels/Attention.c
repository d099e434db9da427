#include "Functions.h"
#include "MatrixProduct.h"
#include "Pool.h"

// Causal attention, one head of one sample after the other, BLOCK query rows at a time. A block of rows first ..< last sees
// keys 0 ..< last only, so that what the mask would throw away is mostly never computed. Probabilities live in scratch
// memory of one block and are computed again in the backward pass from the row's logarithm of the sum. Keys and values are packed once a
// head; threads share out heads.

enum { BLOCK = 64 };

INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/// Floats that blocks of scores take, of which there are three in the backward pass.
static size_t score_floats(const struct tensor_attention *shape, bool backward) {
    size_t block = smaller(BLOCK, shape->positions) * shape->positions;
    return backward ? 3 * block : block;
}

/// Floats of one head's keys and values, packed: forward each once, backward the keys in both ways.
static size_t packed_floats(const struct tensor_attention *shape, bool backward) {
    size_t T = shape->positions, D = shape->head_columns;
    size_t wide = packed_factor_size(D, T), tall = packed_factor_size(T, D);
    return backward ? 2 * wide + tall + packed_factor_size(BLOCK, D) : wide + tall;
}

/// Floats that one thread needs, in whole cache lines.
static size_t scratch_floats(const struct tensor_attention *shape, bool backward) {
    return (score_floats(shape, backward) + packed_floats(shape, backward) + 15) / 16 * 16;
}

/// How many threads share the heads.
static size_t parts(const struct tensor_attention *shape, size_t scratch_count, bool backward) {
    size_t most = smaller(pool_threads(), shape->samples * shape->heads), each = scratch_floats(shape, backward);
    return most * each <= scratch_count ? most : smaller(most, scratch_count / (each ? each : 1));
}

size_t tensor_attention_scratch(const struct tensor_attention *shape, bool backward) {
    return smaller(pool_threads(), shape->samples * shape->heads) * scratch_floats(shape, backward);
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

/// One head's queries, keys and values, and what else belongs to it.
struct head {
    const float *queries, *keys, *values;
    size_t number, sample, column;
};

static struct head head_of(const struct tensor_attention *shape, size_t number, const float *qkv) {
    size_t C = shape->heads * shape->head_columns, sample = number / shape->heads;
    size_t column = number % shape->heads * shape->head_columns;
    const float *queries = qkv + sample * shape->positions * 3 * C + column;
    return (struct head){queries, queries + C, queries + 2 * C, number, sample, column};
}

struct forward {
    const struct product_kernels *kernels;
    const struct tensor_attention *shape;
    float *out, *log_sum;
    const float *qkv;
    float *scratch;
    size_t parts;
};

static void forward_head(const struct forward *work, struct head head, float *scratch) {
    const struct tensor_attention *shape = work->shape;
    size_t T = shape->positions, D = shape->head_columns, C = shape->heads * D;
    float *space = scratch + score_floats(shape, false), *out = work->out + head.sample * T * C + head.column;
    struct packed_factor keys = {work->kernels, D, T, space}, values = {work->kernels, T, D, space + packed_factor_size(D, T)};
    pack_factor(&keys, head.keys, 3 * C, true);
    pack_factor(&values, head.values, 3 * C, false);
    for (size_t first = 0; first < T; first += BLOCK) {
        size_t last = smaller(first + BLOCK, T), rows = last - first;
        multiply_packed(false, rows, last, D, head.queries + first * 3 * C, 3 * C, &keys, false, scratch, last);
        softmax_block(scratch, work->log_sum + head.number * T, first, last, shape->scale);
        if (shape->dropout_threshold) drop_block(shape, scratch, scratch, head.number, first, last);
        multiply_packed(false, rows, D, last, scratch, last, &values, false, out + first * C, C);
    }
}

static void forward_part(void *context, size_t part) {
    const struct forward *work = context;
    size_t heads = work->shape->samples * work->shape->heads;
    float *scratch = work->scratch + part * scratch_floats(work->shape, false);
    for (size_t head = part * heads / work->parts; head < (part + 1) * heads / work->parts; head++)
        forward_head(work, head_of(work->shape, head, work->qkv), scratch);
}

void tensor_attention_forward(const struct tensor_attention *shape, float *out, float *log_sum, const float *qkv, float *scratch,
                              size_t scratch_count) {
    struct forward work = {product_kernels(), shape, out, log_sum, qkv, scratch, parts(shape, scratch_count, false)};
    pool_run(work.parts, forward_part, &work);
}

struct backward {
    const struct product_kernels *kernels;
    const struct tensor_attention *shape;
    float *dqkv;
    const float *dout, *qkv, *out, *log_sum;
    float *scratch;
    size_t parts;
};

/// A head's packed factors, and memory for those of a block.
struct factors {
    struct packed_factor keys, transposed_keys, transposed_values;
    float *block;
};

/// One block of rows of one head; the first block to come overwrites dk and dv, which the later ones see only a part of.
static void backward_block(const struct backward *work, const struct head *head, const struct factors *factors, size_t first, size_t last,
                           float *scratch) {
    const struct tensor_attention *shape = work->shape;
    size_t T = shape->positions, D = shape->head_columns, C = shape->heads * D, rows = last - first;
    const float *dout = work->dout + head->sample * T * C + head->column, *out = work->out + head->sample * T * C + head->column;
    const float *queries = head->queries + first * 3 * C, *douts = dout + first * C, *log_sum = work->log_sum + head->number * T;
    float *dq = work->dqkv + (head->queries - work->qkv), *dk = dq + C, *dv = dk + C;
    size_t block = smaller(BLOCK, T) * T;
    float *p = scratch, *dp = scratch + block, *dropped = scratch + 2 * block;
    bool adds = last != T;

    multiply_packed(false, rows, last, D, queries, 3 * C, &factors->transposed_keys, false, p, last);
    recompute_block(p, log_sum, first, last, shape->scale);
    multiply_packed(false, rows, last, D, douts, C, &factors->transposed_values, false, dp, last);
    const float *used = p;
    if (shape->dropout_threshold) {
        drop_block(shape, dropped, p, head->number, first, last);
        drop_block(shape, dp, dp, head->number, first, last);
        used = dropped;
    }
    struct packed_factor rows_of_block = {work->kernels, rows, D, factors->block};
    pack_factor(&rows_of_block, douts, C, false);
    multiply_packed(true, last, D, rows, used, last, &rows_of_block, adds, dv, 3 * C);
    softmax_backward_block(dp, p, dout, out, C, D, first, last, shape->scale);
    multiply_packed(false, rows, D, last, dp, last, &factors->keys, false, dq + first * 3 * C, 3 * C);
    pack_factor(&rows_of_block, queries, 3 * C, false);
    multiply_packed(true, last, D, rows, dp, last, &rows_of_block, adds, dk, 3 * C);
}

static void backward_head(const struct backward *work, struct head head, float *scratch) {
    const struct tensor_attention *shape = work->shape;
    size_t T = shape->positions, D = shape->head_columns, C = shape->heads * D;
    float *space = scratch + score_floats(shape, true);
    size_t wide = packed_factor_size(D, T), tall = packed_factor_size(T, D);
    const struct product_kernels *kernels = work->kernels;
    struct factors factors = {{kernels, T, D, space}, {kernels, D, T, space + tall}, {kernels, D, T, space + tall + wide},
                              space + tall + 2 * wide};
    pack_factor(&factors.keys, head.keys, 3 * C, false);
    pack_factor(&factors.transposed_keys, head.keys, 3 * C, true);
    pack_factor(&factors.transposed_values, head.values, 3 * C, true);
    // Descending: the last block sees every key, so that it may overwrite where the others add.
    for (size_t blocks = (T + BLOCK - 1) / BLOCK; blocks > 0; blocks--) {
        size_t first = (blocks - 1) * BLOCK, last = smaller(first + BLOCK, T);
        backward_block(work, &head, &factors, first, last, scratch);
    }
}

static void backward_part(void *context, size_t part) {
    const struct backward *work = context;
    size_t heads = work->shape->samples * work->shape->heads;
    float *scratch = work->scratch + part * scratch_floats(work->shape, true);
    for (size_t head = part * heads / work->parts; head < (part + 1) * heads / work->parts; head++)
        backward_head(work, head_of(work->shape, head, work->qkv), scratch);
}

void tensor_attention_backward(const struct tensor_attention *shape, float *dqkv, const float *dout, const float *qkv, const float *out,
                               const float *log_sum, float *scratch, size_t scratch_count) {
    struct backward work = {product_kernels(), shape, dqkv, dout, qkv, out, log_sum, scratch, parts(shape, scratch_count, true)};
    pool_run(work.parts, backward_part, &work);
}
