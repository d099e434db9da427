#include "KernelCheck.h"
#include "../../Sources/CTensorKernels/Functions.h"
#include <stdio.h>

// Elementary functions: through kernels, over the floats themselves, and beside the C library's.

static float reference(enum tensor_function function, float x, float *slope) {
    float cumulative, density, y = 0, w = x * x;
    switch (function) {
    case TENSOR_EXP:
        *slope = y = fast_exp(x);
        break;
    case TENSOR_LOG:
        y = fast_log(x);
        *slope = 1 / x;
        break;
    case TENSOR_TANH:
        y = fast_tanh(x);
        *slope = fmaf(-y, y, 1);
        break;
    case TENSOR_SIGMOID:
        y = fast_sigmoid(x);
        *slope = y * (1 - y);
        break;
    case TENSOR_RELU:
        y = x < 0 ? 0 : x;
        *slope = x > 0;
        break;
    case TENSOR_GELU_EXACT:
        normal_distribution(x, &cumulative, &density);
        *slope = fmaf(x, density, cumulative);
        y = x * cumulative;
        break;
    case TENSOR_GELU_TANH:
        cumulative = fast_sigmoid(x * fmaf(0.0713548162f, w, 1.59576912f));
        *slope = fmaf(x * cumulative * (1 - cumulative), fmaf(0.214064449f, w, 1.59576912f), cumulative);
        y = x * cumulative;
        break;
    }
    return y;
}

void check_activate(struct trial *t) {
    enum tensor_function function = (enum tensor_function)(t->number % 7);
    size_t rows = pick(t, 1, 3), C = width(t), n = rows * C;
    float *x = wild_floats(t, n), *row = flip(t) ? wild_floats(t, C) : NULL, *slope = flip(t) ? room(t, n * 4) : NULL;
    float *y = room(t, n * 4), *expected = room(t, n * 4), *own_slope = room(t, n * 4);
    tensor_activate(function, y, slope, x, row, rows, C);
    for (size_t i = 0; i < n; i++) expected[i] = reference(function, row ? x[i] + row[i % C] : x[i], own_slope + i);
    expect(t, y, expected, n, "y");
    record(t, y, n);
    if (!slope) return;
    expect(t, slope, own_slope, n, "slope");
    record(t, slope, n);
}

void check_cross_entropy(struct trial *t) {
    size_t rows = pick(t, 0, 5), C = columns(t), n = rows * C, counted, own_counted = 0;
    float *x = floats(t, n, 8), *gradient = flip(t) ? floats(t, n, 1) : NULL, *e = room(t, C * 4),
          *expected = room(t, n * 4);
    int32_t *labels = integers(t, rows, -1, (uint32_t)C + 1 + (pick(t, 0, 9) == 0));
    ptrdiff_t bad, own_bad = -1;
    double total = tensor_cross_entropy(gradient, &counted, &bad, x, labels, rows, C), own = 0;
    for (size_t r = 0; r < rows; r++) {
        int32_t label = labels[r];
        if (label == -1) continue;
        if (label >= (int32_t)C) {
            own_bad = (ptrdiff_t)r;
            own = 0;
            break;
        }
        const float *row = x + r * C;
        float most = row[0];
        for (size_t c = 0; c < C; c++) most = row[c] > most ? row[c] : most;
        for (size_t c = 0; c < C; c++) e[c] = fast_exp_small(row[c] - most);
        float sum = lane_sum(e, C), inverse = 1 / sum;
        own += (double)fast_log(sum) + ((double)most - row[label]);
        own_counted++;
        for (size_t c = 0; c < C; c++) expected[r * C + c] = e[c] * inverse - (c == (size_t)label ? 1 : 0);
    }
    expect_bytes(t, &bad, &own_bad, sizeof bad, "the first bad row");
    expect_double(t, total, own, "the sum");
    record_double(t, total);
    if (own_bad >= 0) return;
    expect_bytes(t, &counted, &own_counted, sizeof counted, "how many count");
    if (!gradient) return;
    expect(t, gradient, expected, n, "the gradient");
    record(t, gradient, n);
    // In the place of the logits.
    expect_double(t, tensor_cross_entropy(x, &counted, &bad, x, labels, rows, C), own, "the sum beside the gradient in place");
    expect(t, x, expected, n, "the gradient in place");
}

// MARK: Over all floats

/// Floats at a time.
enum { CHUNK = 1 << 13 };

#define ACTIVATION(name, function)                                       \
    static void name(float *y, float *slope, const float *x, size_t n) { \
        tensor_activate(function, y, slope, x, NULL, 1, n);              \
    }
ACTIVATION(run_exp, TENSOR_EXP)
ACTIVATION(run_log, TENSOR_LOG)
ACTIVATION(run_tanh, TENSOR_TANH)
ACTIVATION(run_sigmoid, TENSOR_SIGMOID)
ACTIVATION(run_gelu_exact, TENSOR_GELU_EXACT)
ACTIVATION(run_gelu_tanh, TENSOR_GELU_TANH)

LOCAL_CLONED(void, run_exp_small, (float *y, float *slope, const float *x, size_t n), (y, slope, x, n)) {
    ELEMENTWISE
    for (size_t i = 0; i < n; i++) {
        y[i] = fast_exp_small(x[i]);
        slope[i] = 0;
    }
}

LOCAL_CLONED(void, run_normal, (float *y, float *slope, const float *x, size_t n), (y, slope, x, n)) {
    ELEMENTWISE
    for (size_t i = 0; i < n; i++) {
        float cumulative, density;
        normal_distribution(x[i], &cumulative, &density);
        y[i] = cumulative;
        slope[i] = density;
    }
}

static void run_bfloat16(float *y, float *slope, const float *x, size_t n) {
    static uint16_t half[CHUNK];
    lockstep_to_bf16(half, x, n);
    lockstep_from_bf16(y, half, n);
    memset(slope, 0, n * sizeof *slope);
}

static const struct function {
    const char *name;
    void (*run)(float *y, float *slope, const float *x, size_t n);
    /// Of values and slopes, over all floats and over every 4099th.
    uint64_t all, sample;
} functions[] = {
    {"exp", run_exp, 0xde3609b687917090, 0x449c9d302f7d14b0},
    {"exp_small", run_exp_small, 0x013b980b5a766fda, 0xbe5fd98896c4d685},
    {"log", run_log, 0xc46f8059ac2d5e49, 0x69d48e0fdb18a9e9},
    {"tanh", run_tanh, 0xe6f5779bf28a374a, 0xfa474780daabf4ea},
    {"sigmoid", run_sigmoid, 0xfba78c6139a0fa84, 0xd5627fcc755b1161},
    {"gelu_exact", run_gelu_exact, 0x42107648817dafd1, 0xc2d331e578b58959},
    {"gelu_tanh", run_gelu_tanh, 0xc8d9fcc95175b4a4, 0x997b432ceb52dd59},
    {"normal", run_normal, 0x3d84aa4444e81537, 0xb999151805369e92},
    {"bfloat16", run_bfloat16, 0x4669f75fdebbf253, 0x5756754a8532796f},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

/// One NaN for all.
static void settle(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        bits = (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : bits;
        memcpy(x + i, &bits, 4);
    }
}

/// The floats whose bits are place, place + stride ...; gives how many.
static size_t take_floats(float *x, uint64_t place, uint32_t stride) {
    size_t n = 0;
    for (; n < CHUNK && place <= UINT32_MAX; n++, place += stride) {
        uint32_t bits = (uint32_t)place;
        memcpy(x + n, &bits, 4);
    }
    return n;
}

static uint64_t digest_of(const struct function *function, uint32_t stride) {
    _Alignas(64) static float x[CHUNK], y[CHUNK], slope[CHUNK];
    uint64_t digest = 0, n;
    for (uint64_t place = 0; (n = take_floats(x, place, stride)) > 0; place += n * stride) {
        function->run(y, slope, x, n);
        settle(y, n);
        settle(slope, n);
        digest = digest * 0x9e3779b97f4a7c15u ^ tensor_digest(y, n);
        digest = digest * 0x9e3779b97f4a7c15u ^ tensor_digest(slope, n);
    }
    return digest;
}

bool check_functions(uint32_t stride) {
    bool passes = true;
    for (int i = 0; i < FUNCTIONS; i++) {
        uint64_t digest = digest_of(&functions[i], stride),
                 known = stride == 1 ? functions[i].all : functions[i].sample;
        printf("%-20s 0x%016llx\n", functions[i].name, (unsigned long long)digest);
        if ((stride == 1 || stride == 4099) && digest != known) {
            printf("%s: the digest must be 0x%016llx\n", functions[i].name, (unsigned long long)known);
            passes = false;
        }
    }
    return passes;
}

// MARK: Accuracy

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double normal(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }

static const struct claim {
    const char *name;
    void (*run)(float *y, float *slope, const float *x, size_t n);
    double (*exact)(double);
    float from, to;
    /// The largest error: in units in the last place, or absolute.
    double most;
    bool is_absolute;
} claims[] = {
    {"exp", run_exp, exp, -87.3f, 88.72f, 2, false},
    {"exp_small", run_exp_small, exp, -87.3f, 80, 2, false},
    {"log", run_log, log, 0x1p-126f, INFINITY, 2, false},
    {"tanh", run_tanh, tanh, -INFINITY, INFINITY, 2e-7, true},
    {"sigmoid", run_sigmoid, sigmoid, -87.3f, 87.3f, 4, false},
    {"normal", run_normal, normal, -INFINITY, INFINITY, 2.5e-7, true},
};

/// A float's unit in the last place.
static double unit(double x) {
    int exponent;
    frexp(x, &exponent);
    return ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

bool check_accuracy(uint32_t stride) {
    _Alignas(64) static float x[CHUNK], y[CHUNK], slope[CHUNK];
    bool passes = true;
    for (size_t c = 0; c < sizeof claims / sizeof *claims; c++) {
        const struct claim *claim = &claims[c];
        double worst = 0, where = 0;
        size_t n;
        for (uint64_t place = 0; (n = take_floats(x, place, stride)) > 0; place += n * stride) {
            claim->run(y, slope, x, n);
            for (size_t i = 0; i < n; i++) {
                if (!(x[i] >= claim->from && x[i] <= claim->to) || isinf(x[i])) continue;
                double exact = claim->exact(x[i]), error = fabs(y[i] - exact) / (claim->is_absolute ? 1 : unit(exact));
                if (!(error <= worst)) {
                    worst = error;
                    where = x[i];
                }
            }
        }
        bool holds = worst <= claim->most;
        printf("%-20s error %.3g at %.9g, at most %g%s\n", claim->name, worst, where, claim->most,
               holds ? "" : ": too much");
        passes &= holds;
    }
    return passes;
}
