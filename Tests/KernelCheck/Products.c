#include "Harness.h"
#include "KernelCheck.h"

// Matrix products, convolutions and attention, with one thread or three.

/// Fused multiply-adds from zero, cut after 256 elements; the parts are added up in order.
struct chain {
    float sum, total;
    size_t length;
    bool has_total;
};

static void cut(struct chain *chain) {
    chain->total = chain->has_total ? chain->total + chain->sum : chain->sum;
    chain->has_total = true;
    chain->sum = 0;
    chain->length = 0;
}

static void link(struct chain *chain, float a, float b) {
    chain->sum = fmaf(a, b, chain->sum);
    if (++chain->length == 256) cut(chain);
}

static float end(struct chain *chain) {
    if (chain->length || !chain->has_total) cut(chain);
    return chain->total;
}

static void use_threads(struct trial *t, bool several) {
    if (tensor_set_threads(several ? 3 : 1) != 0) t->failure = "no threads";
}

/// Without numbers whose products are too small to be normal.
static void settle(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = fabsf(x[i]) < 1e-15f ? 0 : x[i];
}

static void check_product(struct trial *t, bool bfloat16) {
    size_t n = columns(t), k = pick(t, 0, 3) == 0 ? pick(t, 200, 600) : pick(t, 0, 40),
           m = pick(t, 1, k > 100 ? 8 : 40);
    bool across = flip(t), turned = flip(t), adds = flip(t);
    size_t a_stride = (across ? m : k) + pick(t, 0, 3), b_stride = (turned ? k : n) + pick(t, 0, 3);
    size_t c_stride = n + pick(t, 0, 3), a_count = (across ? k : m) * a_stride, b_count = (turned ? n : k) * b_stride;
    float *a = floats(t, a_count, 1), *b = floats(t, b_count, 1), *c = floats(t, m * c_stride, 1);
    settle(a, a_count);
    settle(b, b_count);
    float *expected = copy(t, c, m * c_stride * 4);
    size_t scratch = tensor_gemm_scratch(bfloat16, across, turned, m, n, k);
    float *space = aligned_room(scratch * 4);
    tensor_gemm(bfloat16, across, turned, m, n, k, a, a_stride, b, b_stride, adds, c, c_stride, space, scratch);
    record(t, c, m * c_stride);
    if (bfloat16) {
        uint16_t *half = room(t, 2 * (a_count + b_count));
        lockstep_to_bf16(half, a, a_count);
        lockstep_from_bf16(a, half, a_count);
        lockstep_to_bf16(half, b, b_count);
        lockstep_from_bf16(b, half, b_count);
    }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            struct chain chain = {.total = expected[i * c_stride + j], .has_total = adds};
            for (size_t l = 0; l < k; l++) {
                // Of a pair of bfloat16 the odd one comes first.
                size_t at = !bfloat16 ? l : l % 2 ? l - 1 : l + 1 < k ? l + 1 : l;
                link(&chain, a[across ? at * a_stride + i : i * a_stride + at],
                     b[turned ? j * b_stride + at : at * b_stride + j]);
            }
            expected[i * c_stride + j] = end(&chain);
        }
    expect(t, c, expected, m * c_stride, bfloat16 ? "a product of bfloat16" : "a product");
}

void check_gemm(struct trial *t) {
    use_threads(t, flip(t));
    check_product(t, false);
    use_threads(t, false);
}

void check_gemm_bfloat16(struct trial *t) {
    use_threads(t, flip(t));
    check_product(t, true);
    // And numbers so small that products and sums are not normal: the bits are in the digest.
    size_t n = columns(t), m = pick(t, 1, 9), k = pick(t, 1, 40),
           scratch = tensor_gemm_scratch(true, false, false, m, n, k);
    float *a = floats(t, m * k, 0x1p-60f), *b = floats(t, k * n, 0x1p-64f), *c = floats(t, m * n, 0x1p-122f);
    tensor_gemm(true, false, false, m, n, k, a, k, b, n, flip(t), c, n, aligned_room(scratch * 4), scratch);
    record(t, c, m * n);
    use_threads(t, false);
}

// MARK: Convolution

/// x at a place of the image that may be outside of it.
static float pixel(const struct tensor_convolution_shape *s, const float *x, size_t n, ptrdiff_t row, ptrdiff_t column,
                   size_t channel) {
    if (row < 0 || column < 0 || row >= (ptrdiff_t)s->height || column >= (ptrdiff_t)s->width) return 0;
    return x[((n * s->height + (size_t)row) * s->width + (size_t)column) * s->inputs + channel];
}

static float weight_at(const struct tensor_convolution_shape *s, const float *w, size_t o, size_t i, size_t kh,
                       size_t kw) {
    return w[((o * s->inputs + i) * s->kernel + kh) * s->kernel + kw];
}

static struct tensor_convolution_shape any_convolution(struct trial *t) {
    struct tensor_convolution_shape s = {0};
    s.samples = pick(t, 1, 2);
    s.kernel = pick(t, 1, 3);
    s.padding = pick(t, 0, s.kernel);
    s.stride = pick(t, 1, 3);
    s.height = pick(t, s.kernel, 7);
    s.width = pick(t, s.kernel, 7);
    s.outputs = pick(t, 1, 40);
    // Now and then so many that chains are cut.
    s.inputs = pick(t, 0, 7) == 0 ? pick(t, 60, 80) : pick(t, 1, 9);
    return s;
}

void check_convolution(struct trial *t) {
    use_threads(t, flip(t));
    struct tensor_convolution_shape s = any_convolution(t);
    size_t H = tensor_convolution_output(s.height, s.kernel, s.stride, s.padding);
    size_t W = tensor_convolution_output(s.width, s.kernel, s.stride, s.padding), out = s.samples * H * W * s.outputs;
    float *x = floats(t, s.samples * s.height * s.width * s.inputs, 1),
          *bias = flip(t) ? floats(t, s.outputs, 1) : NULL;
    float *w = floats(t, s.outputs * s.inputs * s.kernel * s.kernel, 1), *y = room(t, out * 4),
          *expected = room(t, out * 4);
    bool relu = flip(t);
    size_t scratch = tensor_convolution_scratch(&s), o = 0;
    tensor_convolution_forward(&s, y, x, w, bias, relu, aligned_room(scratch * 4), scratch);
    for (size_t n = 0; n < s.samples; n++)
        for (size_t r = 0; r < H; r++)
            for (size_t c = 0; c < W; c++)
                for (size_t channel = 0; channel < s.outputs; channel++, o++) {
                    struct chain chain = {0};
                    for (size_t kh = 0; kh < s.kernel; kh++)
                        for (size_t kw = 0; kw < s.kernel; kw++)
                            for (size_t i = 0; i < s.inputs; i++)
                                link(&chain,
                                     pixel(&s, x, n, (ptrdiff_t)(r * s.stride + kh) - (ptrdiff_t)s.padding,
                                           (ptrdiff_t)(c * s.stride + kw) - (ptrdiff_t)s.padding, i),
                                     weight_at(&s, w, channel, i, kh, kw));
                    float value = end(&chain);
                    value = bias ? value + bias[channel] : value;
                    expected[o] = relu && value < 0 ? 0 : value;
                }
    expect(t, y, expected, out, "y");
    record(t, y, out);
    use_threads(t, false);
}

/// Where y's row is that the kernel's row `k` brings to x's row `row`; -1 outside of y, -2 between two of y's.
static ptrdiff_t source(size_t row, size_t k, size_t size, const struct tensor_convolution_shape *s) {
    ptrdiff_t distance = (ptrdiff_t)(row + s->padding) - (ptrdiff_t)k;
    if (distance % (ptrdiff_t)s->stride) return -2;
    ptrdiff_t place = distance / (ptrdiff_t)s->stride;
    return place < 0 || place >= (ptrdiff_t)size ? -1 : place;
}

void check_convolution_backward(struct trial *t) {
    use_threads(t, flip(t));
    struct tensor_convolution_shape s = any_convolution(t);
    size_t H = tensor_convolution_output(s.height, s.kernel, s.stride, s.padding);
    size_t W = tensor_convolution_output(s.width, s.kernel, s.stride, s.padding), out = s.samples * H * W * s.outputs;
    size_t in = s.samples * s.height * s.width * s.inputs, weights = s.outputs * s.inputs * s.kernel * s.kernel, at = 0;
    float *x = floats(t, in, 1), *dy = floats(t, out, 1), *w = floats(t, weights, 1), *dx = room(t, in * 4);
    float *dw = room(t, weights * 4), *own_dx = room(t, in * 4), *own_dw = room(t, weights * 4);
    size_t scratch = tensor_convolution_scratch(&s);
    float *space = aligned_room(scratch * 4);
    tensor_convolution_backward_data(&s, dx, dy, w, space, scratch);
    tensor_convolution_backward_weights(&s, dw, dy, x, space, scratch);
    for (size_t n = 0; n < s.samples; n++)
        for (size_t r = 0; r < s.height; r++)
            for (size_t c = 0; c < s.width; c++)
                for (size_t i = 0; i < s.inputs; i++, at++) {
                    struct chain chain = {0};
                    // Rows and columns of y ascend as those of the kernel descend.
                    for (size_t kh = s.kernel; kh-- > 0;)
                        for (size_t kw = s.kernel; kw-- > 0;) {
                            ptrdiff_t row = source(r, kh, H, &s), column = source(c, kw, W, &s);
                            if (row == -2 || column == -2) continue;
                            const float *from = dy + ((n * H + (size_t)row) * W + (size_t)column) * s.outputs;
                            for (size_t o = 0; o < s.outputs; o++)
                                link(&chain, row < 0 || column < 0 ? 0 : from[o], weight_at(&s, w, o, i, kh, kw));
                        }
                    own_dx[at] = end(&chain);
                }
    for (size_t weight = 0; weight < weights; weight++) {
        size_t kw = weight % s.kernel, kh = weight / s.kernel % s.kernel, i = weight / s.kernel / s.kernel % s.inputs;
        size_t o = weight / s.kernel / s.kernel / s.inputs;
        struct chain chain = {0};
        for (size_t place = 0; place < s.samples * H * W; place++)
            link(&chain, dy[place * s.outputs + o],
                 pixel(&s, x, place / W / H, (ptrdiff_t)(place / W % H * s.stride + kh) - (ptrdiff_t)s.padding,
                       (ptrdiff_t)(place % W * s.stride + kw) - (ptrdiff_t)s.padding, i));
        own_dw[weight] = end(&chain);
    }
    expect(t, dx, own_dx, in, "dx");
    expect(t, dw, own_dw, weights, "dweight");
    record(t, dx, in);
    record(t, dw, weights);
    use_threads(t, false);
}

// MARK: Attention

/// The bits are in the digest; that the numbers are right is for other tests to say.
void check_attention(struct trial *t) {
    use_threads(t, flip(t));
    struct tensor_attention s = {.positions = t->number + 1, .scale = 0.3f};
    s.samples = pick(t, 1, 2);
    s.heads = pick(t, 1, 3);
    s.head_columns = pick(t, 1, 20);
    if (flip(t)) {
        s.dropout_threshold = 1u << 30;
        s.dropout_scale = 4.0f / 3;
        s.dropout_key = (struct tensor_random_key){next_random(t), 1, 2, 3};
    }
    size_t rows = s.samples * s.positions, C = s.heads * s.head_columns;
    float *qkv = floats(t, rows * 3 * C, 2), *dout = floats(t, rows * C, 1), *out = room(t, rows * C * 4);
    float *log_sum = room(t, rows * s.heads * 4), *dqkv = room(t, rows * 3 * C * 4);
    size_t forward = tensor_attention_scratch(&s, false), backward = tensor_attention_scratch(&s, true);
    tensor_attention_forward(&s, out, log_sum, qkv, aligned_room(forward * 4), forward);
    tensor_attention_backward(&s, dqkv, dout, qkv, out, log_sum, aligned_room(backward * 4), backward);
    record(t, out, rows * C);
    record(t, log_sum, rows * s.heads);
    record(t, dqkv, rows * 3 * C);
    use_threads(t, false);
}
