#include "KernelCheck.h"

// Normalisation, pooling, embeddings, losses, optimizers.

void check_layer_norm(struct trial *t) {
    size_t rows = pick(t, 1, 4), C = columns(t), n = rows * C;
    float *x = floats(t, n, 2), *gain = floats(t, C, 2), *bias = flip(t) ? floats(t, C, 1) : NULL;
    float *y = room(t, n * 4), *mean = room(t, rows * 4), *inverse = room(t, rows * 4), epsilon = 1e-5f;
    float *expected = room(t, n * 4), *centred = room(t, C * 4);
    tensor_layer_norm(y, mean, inverse, x, gain, bias, rows, C, epsilon);
    for (size_t r = 0; r < rows; r++) {
        float m = lane_sum(x + r * C, C) / (float)C;
        for (size_t c = 0; c < C; c++) centred[c] = x[r * C + c] - m;
        float s = 1 / sqrtf(lane_dot(centred, centred, C) / (float)C + epsilon);
        for (size_t c = 0; c < C; c++)
            expected[r * C + c] = bias ? fmaf(centred[c] * s, gain[c], bias[c]) : centred[c] * s * gain[c];
        expect(t, mean + r, &m, 1, "mean");
        expect(t, inverse + r, &s, 1, "inverse");
    }
    expect(t, y, expected, n, "y");
    record(t, y, n);
}

void check_layer_norm_backward(struct trial *t) {
    size_t rows = pick(t, 1, 4), C = columns(t), n = rows * C;
    float *x = floats(t, n, 2), *dy = floats(t, n, 1), *gain = floats(t, C, 2);
    float *mean = floats(t, rows, 1), *inverse = floats(t, rows, 2);
    bool adds = flip(t), adds_gain = flip(t), adds_bias = flip(t);
    float *dx = flip(t) ? floats(t, n, 1) : NULL, *dgain = floats(t, C, 1), *dbias = flip(t) ? floats(t, C, 1) : NULL;
    float *own_dx = dx ? copy(t, dx, n * 4) : NULL, *own_gain = copy(t, dgain, C * 4),
          *own_bias = dbias ? copy(t, dbias, C * 4) : NULL;
    float *g = room(t, C * 4), *h = room(t, C * 4);
    tensor_layer_norm_backward(dx, adds, dgain, adds_gain, dbias, adds_bias, dy, x, mean, inverse, gain, rows, C);
    for (size_t c = 0; c < C; c++) {
        own_gain[c] = adds_gain ? own_gain[c] : 0;
        if (dbias) own_bias[c] = adds_bias ? own_bias[c] : 0;
    }
    for (size_t r = 0; r < rows; r++) {
        float m = mean[r], s = inverse[r];
        for (size_t c = 0; c < C; c++) {
            g[c] = dy[r * C + c] * gain[c];
            h[c] = (x[r * C + c] - m) * s;
            own_gain[c] = fmaf(dy[r * C + c], h[c], own_gain[c]);
            if (dbias) own_bias[c] += dy[r * C + c];
        }
        float mean_g = lane_sum(g, C) / (float)C, mean_gh = lane_dot(g, h, C) / (float)C;
        for (size_t c = 0; c < C && dx; c++) {
            float d = fmaf(-h[c], mean_gh, fmaf(dy[r * C + c], gain[c], -mean_g)), *to = own_dx + r * C + c;
            *to = adds ? fmaf(s, d, *to) : s * d;
        }
    }
    if (dx) expect(t, dx, own_dx, n, "dx");
    expect(t, dgain, own_gain, C, "dgain");
    if (dbias) expect(t, dbias, own_bias, C, "dbias");
    if (dx) record(t, dx, n);
    record(t, dgain, C);
    if (dbias) record(t, dbias, C);
}

void check_unit_rows(struct trial *t) {
    size_t rows = pick(t, 1, 4), C = columns(t), n = rows * C;
    float *x = floats(t, n, 2), *y = room(t, n * 4), *inverse = room(t, rows * 4), least = flip(t) ? 1e-6f : 5;
    tensor_unit_rows(y, inverse, x, rows, C, least);
    float *expected = room(t, n * 4);
    for (size_t r = 0; r < rows; r++) {
        float norm = sqrtf(lane_dot(x + r * C, x + r * C, C)), s = 1 / (norm < least ? least : norm);
        for (size_t c = 0; c < C; c++) expected[r * C + c] = x[r * C + c] * s;
        expect(t, inverse + r, &s, 1, "inverse");
    }
    expect(t, y, expected, n, "y");
    record(t, y, n);
}

void check_unit_rows_backward(struct trial *t) {
    size_t rows = pick(t, 1, 4), C = columns(t), n = rows * C;
    float *dy = floats(t, n, 2), *y = floats(t, n, 1), *inverse = floats(t, rows, 2), *dx = floats(t, n, 1), least = 1;
    bool adds = flip(t);
    float *expected = copy(t, dx, n * 4);
    tensor_unit_rows_backward(dx, adds, dy, y, inverse, rows, C, least);
    for (size_t r = 0; r < rows; r++) {
        float s = inverse[r], along = s < 1 / least ? lane_dot(dy + r * C, y + r * C, C) : 0;
        for (size_t i = r * C; i < (r + 1) * C; i++) {
            float d = fmaf(-along, y[i], dy[i]);
            expected[i] = adds ? fmaf(s, d, expected[i]) : s * d;
        }
    }
    expect(t, dx, expected, n, "dx");
    record(t, dx, n);
}

/// The sum of products over rows, fused, in blocks of 64 rows.
static float block_dot(const float *a, const float *b, size_t rows) {
    float total = 0;
    for (size_t first = 0; first < rows; first += 64) {
        float sum = 0;
        for (size_t r = first; r < rows && r < first + 64; r++) sum = fmaf(a[r], b[r], sum);
        total += sum;
    }
    return total;
}

static float block_sum(const float *a, size_t rows) {
    float total = 0;
    for (size_t first = 0; first < rows; first += 64) {
        float sum = 0;
        for (size_t r = first; r < rows && r < first + 64; r++) sum += a[r];
        total += sum;
    }
    return total;
}

void check_batch_norm(struct trial *t) {
    size_t rows = pick(t, 1, 150), C = columns(t), n = rows * C;
    float *x = floats(t, n, 2), *gain = floats(t, C, 2), *bias = floats(t, C, 1), epsilon = 1e-5f;
    float *mean = room(t, C * 4), *variance = room(t, C * 4), *inverse = room(t, C * 4), *y = room(t, n * 4);
    bool relu = flip(t);
    tensor_batch_statistics(mean, variance, x, rows, C, room(t, C * 4));
    tensor_batch_norm(y, inverse, x, mean, variance, gain, bias, rows, C, epsilon, relu);
    float *column = room(t, rows * 4), *expected = room(t, n * 4), share = 1 / (float)rows;
    for (size_t c = 0; c < C; c++) {
        for (size_t r = 0; r < rows; r++) column[r] = x[r * C + c];
        float m = block_sum(column, rows) * share;
        for (size_t r = 0; r < rows; r++) column[r] -= m;
        float v = block_dot(column, column, rows) * share, s = 1 / sqrtf(v + epsilon);
        for (size_t r = 0; r < rows; r++) {
            float value = fmaf(column[r], s * gain[c], bias[c]);
            expected[r * C + c] = relu && value < 0 ? 0 : value;
        }
        expect(t, mean + c, &m, 1, "mean");
        expect(t, variance + c, &v, 1, "variance");
        expect(t, inverse + c, &s, 1, "inverse");
    }
    expect(t, y, expected, n, "y");
    record(t, y, n);
}

void check_batch_norm_backward(struct trial *t) {
    size_t rows = pick(t, 1, 150), C = columns(t), n = rows * C;
    float *x = floats(t, n, 2), *dy = floats(t, n, 1), *gain = floats(t, C, 2), *mean = floats(t, C, 1),
          *inverse = floats(t, C, 2);
    float *dgain = room(t, C * 4), *dbias = room(t, C * 4), *dx = floats(t, n, 1), *expected = copy(t, dx, n * 4);
    bool adds = flip(t);
    tensor_batch_norm_backward(dx, adds, dgain, dbias, dy, x, mean, inverse, gain, rows, C, room(t, C * 4));
    float *h = room(t, rows * 4), *d = room(t, rows * 4), share = 1 / (float)rows;
    for (size_t c = 0; c < C; c++) {
        for (size_t r = 0; r < rows; r++) {
            h[r] = (x[r * C + c] - mean[c]) * inverse[c];
            d[r] = dy[r * C + c];
        }
        float sum = block_sum(d, rows), along = block_dot(d, h, rows), factor = gain[c] * inverse[c];
        for (size_t r = 0; r < rows; r++) {
            float own = fmaf(-h[r], share * along, fmaf(-share, sum, d[r])), *to = expected + r * C + c;
            *to = adds ? fmaf(factor, own, *to) : factor * own;
        }
        expect(t, dbias + c, &sum, 1, "dbias");
        expect(t, dgain + c, &along, 1, "dgain");
    }
    expect(t, dx, expected, n, "dx");
    record(t, dx, n);
    record(t, dgain, C);
}

// MARK: Optimizers

void check_sgd(struct trial *t) {
    size_t n = width(t);
    float *p = floats(t, n, 1), *g = floats(t, n, 1), *v = flip(t) ? floats(t, n, 1) : NULL;
    float scale = floats(t, 1, 1)[0], rate = floats(t, 1, 1)[0], momentum = floats(t, 1, 1)[0],
          decay = floats(t, 1, 0.1f)[0];
    bool nesterov = flip(t);
    float *own_p = copy(t, p, n * 4), *own_v = v ? copy(t, v, n * 4) : NULL;
    tensor_sgd(p, g, v, n, scale, rate, momentum, decay, nesterov);
    for (size_t i = 0; i < n; i++) {
        float d = fmaf(scale, g[i], decay * own_p[i]);
        if (v) {
            own_v[i] = fmaf(momentum, own_v[i], d);
            d = nesterov ? fmaf(momentum, own_v[i], d) : own_v[i];
        }
        own_p[i] = fmaf(-rate, d, own_p[i]);
    }
    expect(t, p, own_p, n, "values");
    if (v) expect(t, v, own_v, n, "velocity");
    record(t, p, n);
}

void check_adamw(struct trial *t) {
    size_t n = width(t);
    float *p = floats(t, n, 1), *g = floats(t, n, 1), *m = floats(t, n, 1), *v = floats(t, n, 1);
    for (size_t i = 0; i < n; i++) v[i] = fabsf(v[i]);
    float scale = floats(t, 1, 1)[0], shrink = 0.999f, rate = floats(t, 1, 0.01f)[0], b1 = 0.1f, beta2 = 0.95f,
          b2 = 0.05f, root = 1.7f;
    float *own_p = copy(t, p, n * 4), *own_m = copy(t, m, n * 4), *own_v = copy(t, v, n * 4), epsilon = 1e-8f;
    tensor_adamw(p, g, m, v, n, scale, shrink, rate, b1, beta2, b2, root, epsilon);
    for (size_t i = 0; i < n; i++) {
        float d = scale * g[i];
        own_m[i] = fmaf(b1, d - own_m[i], own_m[i]);
        own_v[i] = fmaf(beta2, own_v[i], b2 * (d * d));
        own_p[i] = fmaf(shrink, own_p[i], -(rate * (own_m[i] / fmaf(sqrtf(own_v[i]), root, epsilon))));
    }
    expect(t, p, own_p, n, "values");
    expect(t, m, own_m, n, "first moment");
    expect(t, v, own_v, n, "second moment");
    record(t, p, n);
}
