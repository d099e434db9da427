#include "KernelCheck.h"

// One element at a time, and sums.

static uint16_t to_bfloat16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (x != x) return (uint16_t)(bits >> 16 | 0x40);
    uint32_t upper = bits >> 16, rest = bits & 0xffff;
    return (uint16_t)(upper + (rest > 0x8000 || (rest == 0x8000 && (upper & 1))));
}

static float from_bfloat16(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

void check_round_bfloat16(struct trial *t) {
    size_t n = width(t);
    float *x = wild_floats(t, n), *back = room(t, n * 4), *expected = room(t, n * 4);
    uint16_t *half = room(t, n * 2), *expected_half = room(t, n * 2);
    lockstep_to_bf16(half, x, n);
    lockstep_from_bf16(back, half, n);
    for (size_t i = 0; i < n; i++) expected[i] = from_bfloat16(expected_half[i] = to_bfloat16(x[i]));
    expect_bytes(t, half, expected_half, n * 2, "lockstep_to_bf16");
    expect(t, back, expected, n, "lockstep_from_bf16");
    record(t, back, n);
}

/// Expects y[i] = expression, with the operands before the call, and records y.
#define CHECK_LOOP(call, expression)       \
    do {                                   \
        float *before = copy(t, y, n * 4); \
        float *expected = room(t, n * 4);  \
        call;                              \
        for (size_t i = 0; i < n; i++) {   \
            float old = before[i];         \
            (void)old;                     \
            expected[i] = (expression);    \
        }                                  \
        expect(t, y, expected, n, #call);  \
        record(t, y, n);                   \
    } while (0)

void check_add(struct trial *t) {
    size_t n = width(t);
    float *a = wild_floats(t, n), *b = wild_floats(t, n), *y = floats(t, n, 1);
    CHECK_LOOP(tensor_add(y, a, b, n), a[i] + b[i]);
    // In place.
    CHECK_LOOP(tensor_add(y, y, b, n), old + b[i]);
}

void check_subtract(struct trial *t) {
    size_t n = width(t);
    float *a = wild_floats(t, n), *b = wild_floats(t, n), *y = floats(t, n, 1);
    CHECK_LOOP(tensor_subtract(y, a, b, n), a[i] - b[i]);
    CHECK_LOOP(tensor_subtract(y, a, y, n), a[i] - old);
}

void check_multiply(struct trial *t) {
    size_t n = width(t);
    float *a = wild_floats(t, n), *b = wild_floats(t, n), *y = floats(t, n, 1);
    CHECK_LOOP(tensor_multiply(y, a, b, n, true), fmaf(a[i], b[i], old));
    CHECK_LOOP(tensor_multiply(y, a, b, n, false), a[i] * b[i]);
    CHECK_LOOP(tensor_multiply(y, y, b, n, false), old * b[i]);
}

void check_scale(struct trial *t) {
    size_t n = width(t);
    float *a = wild_floats(t, n), *y = floats(t, n, 1), s = floats(t, 1, 2)[0];
    CHECK_LOOP(tensor_scale(y, a, s, n, true), fmaf(a[i], s, old));
    CHECK_LOOP(tensor_scale(y, a, s, n, false), a[i] * s);
    CHECK_LOOP(tensor_scale(y, y, s, n, false), old * s);
}

void check_fill(struct trial *t) {
    size_t n = width(t);
    float *y = floats(t, n, 1), s = floats(t, 1, 2)[0];
    CHECK_LOOP(tensor_fill(y, s, n, true), old + s);
    CHECK_LOOP(tensor_fill(y, s, n, false), s);
}

void check_add_row(struct trial *t) {
    size_t rows = pick(t, 0, 5), n_columns = width(t), n = rows * n_columns;
    float *x = wild_floats(t, n), *row = wild_floats(t, n_columns), *y = floats(t, n, 1);
    CHECK_LOOP(tensor_add_row(y, x, row, rows, n_columns), x[i] + row[i % n_columns]);
}

void check_relu_backward(struct trial *t) {
    size_t n = width(t);
    float *dy = wild_floats(t, n), *output = wild_floats(t, n), *y = floats(t, n, 1);
    CHECK_LOOP(tensor_relu_backward(y, dy, output, n, true), old + (output[i] > 0 ? dy[i] : 0));
    CHECK_LOOP(tensor_relu_backward(y, dy, output, n, false), output[i] > 0 ? dy[i] : 0);
}

void check_move_average(struct trial *t) {
    size_t n = width(t);
    float *x = floats(t, n, 3), *y = floats(t, n, 1), scale = floats(t, 1, 1)[0], momentum = floats(t, 1, 1)[0];
    CHECK_LOOP(tensor_move_average(y, x, scale, momentum, n), fmaf(momentum, fmaf(x[i], scale, -old), old));
}

// MARK: Sums

void check_sum_rows(struct trial *t) {
    size_t rows = pick(t, 0, 200), n = width(t);
    float *x = floats(t, rows * n, 2), *y = floats(t, n, 1), *total = room(t, n * 4);
    for (size_t first = 0; first < rows; first += 64)
        for (size_t c = 0; c < n; c++) {
            float sum = 0;
            for (size_t r = first; r < rows && r < first + 64; r++) sum += x[r * n + c];
            total[c] += sum;
        }
    CHECK_LOOP(tensor_sum_rows(y, x, rows, n, true), old + total[i]);
    CHECK_LOOP(tensor_sum_rows(y, x, rows, n, false), total[i]);
}

static double wide_lane_sum(const double *lanes_in) {
    double lanes[SUM_LANES];
    memcpy(lanes, lanes_in, sizeof lanes);
    for (int half = SUM_LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
    return lanes[0];
}

void check_sum(struct trial *t) {
    size_t n = width(t);
    float *x = floats(t, n, 3);
    double lanes[SUM_LANES] = {0};
    for (size_t i = 0; i < n; i++) lanes[i % SUM_LANES] += x[i];
    double sum = tensor_sum(x, n);
    expect_double(t, sum, wide_lane_sum(lanes), "tensor_sum");
    record_double(t, sum);
}

void check_dot(struct trial *t) {
    size_t n = width(t);
    float *a = floats(t, n, 3), *b = floats(t, n, 3);
    double lanes[SUM_LANES] = {0};
    for (size_t i = 0; i < n; i++) lanes[i % SUM_LANES] += (double)a[i] * b[i];
    double sum = tensor_dot(a, b, n);
    expect_double(t, sum, wide_lane_sum(lanes), "tensor_dot");
    record_double(t, sum);
}

void check_squared_error(struct trial *t) {
    size_t n = width(t);
    float *a = floats(t, n, 3), *b = floats(t, n, 3);
    double lanes[SUM_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - b[i];
        lanes[i % SUM_LANES] = fma(d, d, lanes[i % SUM_LANES]);
    }
    double sum = tensor_squared_error(a, b, n);
    expect_double(t, sum, wide_lane_sum(lanes), "tensor_squared_error");
    record_double(t, sum);
}

void check_survey(struct trial *t) {
    // Blocks and the ends of parts at multiples of 16, the last at the end.
    size_t n = width(t) + 16 * pick(t, 0, 8), block = 16 * pick(t, 1, 6), parts = pick(t, 1, 3), ends[3] = {0};
    if (n == 0) return;
    for (size_t p = 0; p + 1 < parts; p++)
        ends[p] = (p ? ends[p - 1] : 0) + 16 * pick(t, 0, (n - (p ? ends[p - 1] : 0)) / 16);
    ends[parts - 1] = n;
    float *x = flip(t) ? floats(t, n, 3) : wild_floats(t, n), *largest = room(t, parts * 4),
          *expected = room(t, parts * 4);
    size_t blocks = (n + block - 1) / block;
    double *sums = room(t, blocks * 8);
    tensor_survey(sums, largest, x, n, block, ends);
    for (size_t b = 0; b < blocks; b++) {
        double lanes[SUM_LANES] = {0};
        for (size_t i = b * block; i < n && i < (b + 1) * block; i++)
            lanes[(i - b * block) % SUM_LANES] += (double)x[i] * x[i];
        expect_double(t, sums[b], wide_lane_sum(lanes), "tensor_survey's sums");
        record_double(t, sums[b]);
    }
    float all = 0;
    for (size_t p = 0, i = 0; p < parts; p++)
        for (; i < ends[p]; i++) {
            float magnitude = fabsf(x[i]);
            // NaN stays.
            if (!(magnitude <= expected[p]) && expected[p] == expected[p]) expected[p] = magnitude;
            if (!(magnitude <= all) && all == all) all = magnitude;
        }
    float most = tensor_max_magnitude(x, n);
    // What stands there for empty parts behind the last element is left there: zero here.
    expect(t, largest, expected, parts, "tensor_survey's largest");
    expect(t, &most, &all, 1, "tensor_max_magnitude");
    record(t, largest, parts);
}

void check_digest(struct trial *t) {
    size_t n = width(t);
    uint64_t digest = tensor_digest(floats(t, n, 3), n);
    record_bytes(t, &digest, 8);
}
