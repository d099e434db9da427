#include "KernelCheck.h"
#include "Harness.h"

// Random numbers, dropout, and functions of one double.

static struct tensor_random_key any_key(struct trial *t) {
    uint64_t a = next_random(t), b = next_random(t);
    return (struct tensor_random_key){next_random(t), (uint32_t)a, (uint32_t)(a >> 32), (uint32_t)b};
}

/// The word of an element, by Philox4x32-10 as its authors write it.
static uint32_t word(struct tensor_random_key key, uint64_t element) {
    uint32_t c[4] = {(uint32_t)(element / 4), key.a, key.b, key.c},
             k[2] = {(uint32_t)key.key, (uint32_t)(key.key >> 32)};
    for (int round = 0; round < 10; round++, k[0] += 0x9E3779B9u, k[1] += 0xBB67AE85u) {
        uint64_t p = (uint64_t)c[0] * 0xD2511F53u, q = (uint64_t)c[2] * 0xCD9E8D57u;
        uint32_t next[4] = {(uint32_t)(q >> 32) ^ c[1] ^ k[0], (uint32_t)q, (uint32_t)(p >> 32) ^ c[3] ^ k[1],
                            (uint32_t)p};
        memcpy(c, next, sizeof c);
    }
    return c[element % 4];
}

void check_random(struct trial *t) {
    size_t n = width(t);
    struct tensor_random_key key = any_key(t);
    float low = floats(t, 1, 1)[0], high = low + 1.5f, *uniform = room(t, n * 4), *expected = room(t, n * 4),
          *normal = room(t, n * 4);
    tensor_random_uniform(uniform, n, key, low, high);
    for (size_t i = 0; i < n; i++) expected[i] = low + (high - low) * ((float)(word(key, i) >> 8) * 0x1p-24f);
    expect(t, uniform, expected, n, "uniform");
    uint32_t block[4], own[4];
    tensor_random_block(block, key, 7);
    for (uint64_t i = 0; i < 4; i++) own[i] = word(key, 28 + i);
    expect_bytes(t, block, own, sizeof block, "block");
    tensor_random_normal(normal, n, key, 0.5f);
    // Near what Box and Muller say, by the C library's functions; the bits are in the digest.
    for (size_t i = 0; i < n; i++) {
        double u = (word(key, i & ~(uint64_t)1) + 0.5) * 0x1p-32, angle = 2 * M_PI * (word(key, i | 1) * 0x1p-32);
        double x = 0.5 * sqrt(-2 * log(u)) * (i & 1 ? sin(angle) : cos(angle));
        if (!(fabs(normal[i] - x) <= 1e-7 * fabs(x) + 1e-15)) t->failure = "normal";
    }
    record(t, uniform, n);
    record(t, normal, n);
}

void check_dropout(struct trial *t) {
    size_t n = width(t), first = pick(t, 0, 70);
    struct tensor_random_key key = any_key(t);
    uint32_t threshold = (uint32_t)next_random(t);
    float *x = floats(t, n, 2), *y = floats(t, n, 1), *expected = copy(t, y, n * 4), scale = 1.25f;
    bool adds = flip(t);
    tensor_dropout(y, x, n, key, first, threshold, scale, adds);
    for (size_t i = 0; i < n; i++) {
        float kept = word(key, first + i) >= threshold ? scale * x[i] : 0;
        expected[i] = adds ? expected[i] + kept : kept;
    }
    expect(t, y, expected, n, "y");
    record(t, y, n);
}

void check_series(struct trial *t) {
    double x = doubles(t, 1, 4)[0], units = ldexp(1, -53);
    x *= (double)pick(t, 0, 300);
    double turn = x - floor(x), cosine = tensor_cosine_of_turns(x), sine = tensor_sine_of_turns(x),
           power = tensor_exponential(x);
    // Beside the C library's: the bits are in the digest.
    if (!(fabs(cosine - cos(2 * M_PI * turn)) < 2e-15)) t->failure = "cosine";
    if (!(fabs(sine - sin(2 * M_PI * turn)) < 2e-15)) t->failure = "sine";
    double exact = exp(x);
    if (x >= -708 && x <= 709.78 && !(fabs(power - exact) <= 5 * units * exact)) t->failure = "exponential";
    record_double(t, cosine);
    record_double(t, sine);
    record_double(t, power);
    const double edges[] = {-INFINITY, -708.1, -708, -0.0, 0, 709.78, 709.79, INFINITY, NAN};
    if (t->number == 0)
        for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) record_double(t, tensor_exponential(edges[i]));
}
