#include "KernelCheck.h"

// Pooling, transposition, embeddings: what moves elements about, and adds some of them up.

static struct tensor_pooling any_pooling(struct trial *t, size_t *rows, size_t *across) {
    struct tensor_pooling p = {.channels = columns(t)};
    p.samples = pick(t, 1, 2);
    p.height = pick(t, 1, 7);
    p.width = pick(t, 1, 7);
    p.kernel_height = pick(t, 1, p.height);
    p.kernel_width = pick(t, 1, p.width);
    p.stride = pick(t, 1, 3);
    *rows = (p.height - p.kernel_height) / p.stride + 1;
    *across = (p.width - p.kernel_width) / p.stride + 1;
    return p;
}

/// Where an element of a window stands in the image.
static size_t place_of(const struct tensor_pooling *p, size_t n, size_t row, size_t column, size_t kr, size_t kc,
                       size_t channel) {
    return ((n * p->height + row * p->stride + kr) * p->width + column * p->stride + kc) * p->channels + channel;
}

void check_max_pool(struct trial *t) {
    size_t rows, across;
    struct tensor_pooling p = any_pooling(t, &rows, &across);
    size_t in = p.samples * p.height * p.width * p.channels, out = p.samples * rows * across * p.channels, o = 0;
    float *x = wild_floats(t, in), *y = room(t, out * 4), *expected = room(t, out * 4), *dy = floats(t, out, 1),
          *dx = floats(t, in, 1);
    uint8_t *places = room(t, out), *expected_places = room(t, out);
    bool adds = flip(t);
    float *own_dx = adds ? copy(t, dx, in * 4) : room(t, in * 4);
    tensor_max_pool(y, places, x, &p);
    tensor_max_pool_backward(dx, adds, dy, places, &p);
    for (size_t n = 0; n < p.samples; n++)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < across; c++)
                for (size_t i = 0; i < p.channels; i++, o++) {
                    float most = x[place_of(&p, n, r, c, 0, 0, i)];
                    for (size_t place = 1; place < p.kernel_height * p.kernel_width; place++) {
                        float value = x[place_of(&p, n, r, c, place / p.kernel_width, place % p.kernel_width, i)];
                        if (value > most || value != value) {
                            most = value;
                            expected_places[o] = (uint8_t)place;
                        }
                    }
                    expected[o] = most;
                    size_t chosen = expected_places[o];
                    // Zero is added to the others, which turns -0 into 0: as it does here.
                    for (size_t place = 0; place < p.kernel_height * p.kernel_width; place++)
                        own_dx[place_of(&p, n, r, c, place / p.kernel_width, place % p.kernel_width, i)] +=
                            place == chosen ? dy[o] : 0;
                }
    expect(t, y, expected, out, "y");
    expect_bytes(t, places, expected_places, out, "places");
    // Where windows tile the image elements are overwritten, and may be -0 where 0 has been added here.
    for (size_t i = 0; i < in; i++) {
        dx[i] = dx[i] == 0 ? 0 : dx[i];
        own_dx[i] = own_dx[i] == 0 ? 0 : own_dx[i];
    }
    expect(t, dx, own_dx, in, "dx");
    record(t, y, out);
    record(t, dx, in);
}

void check_average_pool(struct trial *t) {
    size_t rows, across;
    struct tensor_pooling p = any_pooling(t, &rows, &across);
    size_t in = p.samples * p.height * p.width * p.channels, out = p.samples * rows * across * p.channels, o = 0;
    float *x = floats(t, in, 2), *y = room(t, out * 4), *expected = room(t, out * 4), *dy = floats(t, out, 1),
          *dx = floats(t, in, 1);
    float share = 1 / (float)(p.kernel_height * p.kernel_width);
    bool adds = flip(t);
    float *own_dx = adds ? copy(t, dx, in * 4) : room(t, in * 4);
    tensor_average_pool(y, x, &p);
    tensor_average_pool_backward(dx, adds, dy, &p);
    for (size_t n = 0; n < p.samples; n++)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < across; c++)
                for (size_t i = 0; i < p.channels; i++, o++)
                    for (size_t place = 0; place < p.kernel_height * p.kernel_width; place++) {
                        size_t at = place_of(&p, n, r, c, place / p.kernel_width, place % p.kernel_width, i);
                        expected[o] = place ? expected[o] + x[at] : x[at];
                        own_dx[at] = fmaf(share, dy[o], own_dx[at]);
                    }
    for (size_t i = 0; i < out; i++) expected[i] *= share;
    expect(t, y, expected, out, "y");
    expect(t, dx, own_dx, in, "dx");
    record(t, y, out);
    record(t, dx, in);
}

void check_transpose(struct trial *t) {
    size_t matrices = pick(t, 1, 3), rows = pick(t, 1, 9), across = columns(t), n = matrices * rows * across;
    float *x = floats(t, n, 1), *y = floats(t, n, 1), *expected = copy(t, y, n * 4);
    bool adds = flip(t);
    tensor_transpose(y, adds, x, matrices, rows, across);
    for (size_t i = 0; i < n; i++) {
        size_t matrix = i / (rows * across), r = i / across % rows, c = i % across;
        float *to = expected + matrix * rows * across + c * rows + r;
        *to = adds ? *to + x[i] : x[i];
    }
    expect(t, y, expected, n, "y");
    record(t, y, n);
}

void check_embed(struct trial *t) {
    size_t C = columns(t), period = pick(t, 1, 6), count = pick(t, 0, 12), vocabulary = pick(t, 1, 9);
    float *table = floats(t, vocabulary * C, 1), *positions = flip(t) ? floats(t, period * C, 1) : NULL;
    // Now and then one too large.
    int32_t *indices = integers(t, count, 0, (uint32_t)vocabulary + (pick(t, 0, 9) == 0));
    float *y = room(t, count * C * 4), *expected = room(t, count * C * 4);
    ptrdiff_t bad = tensor_embed(y, table, positions, indices, count, period, vocabulary, C), own = -1;
    for (size_t i = 0; i < count && own < 0; i++) {
        if ((size_t)indices[i] >= vocabulary) own = (ptrdiff_t)i;
        for (size_t c = 0; c < C && own < 0; c++)
            expected[i * C + c] =
                table[(size_t)indices[i] * C + c] + (positions ? positions[i % period * C + c] : -0.0f);
    }
    expect_bytes(t, &bad, &own, sizeof bad, "the first bad index");
    expect(t, y, expected, count * C, "y");
    record(t, y, count * C);
}

void check_embed_backward(struct trial *t) {
    size_t C = columns(t), period = pick(t, 1, 5), samples = pick(t, 1, 4), count = period * samples,
           vocabulary = pick(t, 1, 6);
    int32_t *indices = integers(t, count, 0, (uint32_t)vocabulary);
    float *dy = floats(t, count * C, 1), *dtable = floats(t, vocabulary * C, 1),
          *expected = copy(t, dtable, vocabulary * C * 4);
    float *dpositions = floats(t, period * C, 1);
    bool adds = flip(t);
    float *own = copy(t, dpositions, period * C * 4);
    tensor_embed_backward(dtable, dy, indices, count, C);
    tensor_embed_positions_backward(dpositions, adds, dy, count, period, C);
    for (size_t i = 0; i < count * C; i++) {
        expected[(size_t)indices[i / C] * C + i % C] += dy[i];
        size_t place = i % (period * C);
        own[place] = i < period * C && !adds ? dy[i] : own[place] + dy[i];
    }
    expect(t, dtable, expected, vocabulary * C, "dtable");
    expect(t, dpositions, own, period * C, "dpositions");
    record(t, dtable, vocabulary * C);
    record(t, dpositions, period * C);
}
