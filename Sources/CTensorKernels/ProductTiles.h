// The inner loop of every product, written once for all instruction sets: a file that includes this one defines
//   INSTANCE(name)  the name of this instance's things
//   TARGET          an attribute that lets the compiler use the instruction set
//   ROWS, VECTORS   rows and vectors of sixteen columns of the largest tile, as many as the registers hold
// and, where a word or a rounding is not a float's, MULTIPLY_ADD and ADDED.
// An element of c is one chain of fused multiply-adds over the words of a and b in order, from zero. Tiles of all shapes give the same
// bits, since nothing of a tile's shape can be seen in an element's chain.
#include "ProductKernels.h"
#include <string.h>

#pragma STDC FP_CONTRACT OFF

#define TILE_INLINE TARGET static inline __attribute__((always_inline))
#ifndef UNROLLED
#define UNROLLED _Pragma("clang loop unroll(full)")
#endif

/// Sixteen floats: one register of AVX-512, two of AVX2, four of NEON.
typedef float vector __attribute__((vector_size(64)));
typedef float loose_vector __attribute__((vector_size(64), aligned(4)));
typedef uint32_t words __attribute__((vector_size(64)));

#define SPLAT(x) ((vector){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x})

#ifndef MULTIPLY_ADD
/// sum += x * y, rounded once.
#define MULTIPLY_ADD(sum, x, y) sum = __builtin_elementwise_fma(x, y, sum)
#endif

/// Words by columns that are fetched ahead: they lie further apart than the hardware looks.
enum { FETCHED_AHEAD = 16 };

#ifndef ADDED
/// What becomes of a sum that is added to c.
#define ADDED(x) (x)
#endif

/// Where a tile's words of a are: row r is at [r / 3] + r % 3 strides, so that few addresses serve all rows.
enum { BASES = (ROWS + 2) / 3 };

/// One word of each row times one row of b.
TILE_INLINE void multiply_word(int rows, int vectors, bool by_rows, vector (*sum)[VECTORS], const float *const *bases, size_t stride,
                               int word, const float *b) {
    vector y[VECTORS];
    UNROLLED for (int v = 0; v < vectors; v++) y[v] = *(const loose_vector *)(b + 16 * v);
    UNROLLED for (int r = 0; r < rows; r++) {
        float value = by_rows ? bases[r / 3][(size_t)(r % 3) * stride + (size_t)word] : bases[0][r];
        vector x = SPLAT(value);
        UNROLLED for (int v = 0; v < vectors; v++) MULTIPLY_ADD(sum[r][v], x, y[v]);
    }
}

/// The chains of a tile over one run of words; moves a and b on.
TILE_INLINE void multiply_run(int rows, int vectors, bool by_rows, vector (*sum)[VECTORS], const float **a, size_t stride, size_t length,
                              const float **b, size_t step_b) {
    const float *x = *a, *y = *b;
    size_t i = 0;
    if (by_rows) {
        const float *bases[BASES];
        UNROLLED for (int j = 0; j < (rows + 2) / 3; j++) bases[j] = x + 3 * (size_t)j * stride;
        for (; i + 4 <= length; i += 4) {
            UNROLLED for (int word = 0; word < 4; word++, y += step_b)
                multiply_word(rows, vectors, true, sum, bases, stride, word, y);
            UNROLLED for (int j = 0; j < (rows + 2) / 3; j++) bases[j] += 4;
        }
        for (; i < length; i++, y += step_b) {
            multiply_word(rows, vectors, true, sum, bases, stride, 0, y);
            UNROLLED for (int j = 0; j < (rows + 2) / 3; j++) bases[j] += 1;
        }
        x += length;
    } else {
        _Pragma("clang loop unroll_count(4)") for (; i < length; i++, x += stride, y += step_b) {
            __builtin_prefetch(x + FETCHED_AHEAD * stride);
            multiply_word(rows, vectors, false, sum, &x, 0, 0, y);
        }
    }
    *a = x;
    *b = y;
}

/// Writes the columns of a tile that are there to c, or adds them.
static __attribute__((noinline)) void put_part(int rows, const float *tile, const struct tile_work *work, bool adds) {
    float *c = work->c;
    for (int r = 0; r < rows; r++, c += work->stride_c, tile += 16 * VECTORS)
        for (size_t j = 0; j < work->columns; j += 16) {
            size_t bytes = (work->columns - j < 16 ? work->columns - j : 16) * sizeof(float);
            vector sum = *(const loose_vector *)(tile + j), before = {0};
            memcpy(&before, c + j, bytes);
            if (adds) sum = ADDED(before + sum);
            memcpy(c + j, &sum, bytes);
        }
}

/// Writes a tile to c, or adds it.
TILE_INLINE void put_tile(int rows, int vectors, vector (*sum)[VECTORS], const struct tile_work *work, bool adds) {
    float *c = work->c;
    if (work->columns == 16 * (size_t)vectors) {
        UNROLLED for (int r = 0; r < rows; r++, c += work->stride_c)
            UNROLLED for (int v = 0; v < vectors; v++) {
                loose_vector *to = (loose_vector *)(c + 16 * v);
                *to = adds ? ADDED(*to + sum[r][v]) : sum[r][v];
            }
        return;
    }
    float tile[ROWS][16 * VECTORS];
    UNROLLED for (int r = 0; r < rows; r++)
        UNROLLED for (int v = 0; v < vectors; v++) *(loose_vector *)(tile[r] + 16 * v) = sum[r][v];
    put_part(rows, tile[0], work, adds);
}

TILE_INLINE void multiply_tile(int rows, int vectors, bool by_rows, const struct tile_work *work) {
    const float *a = work->a, *b = work->b;
    bool adds = work->adds;
    for (const struct product_run *run = work->runs, *end = run + work->run_count; run < end; adds = true) {
        vector sum[ROWS][VECTORS];
        UNROLLED for (int r = 0; r < rows; r++)
            UNROLLED for (int v = 0; v < vectors; v++) sum[r][v] = (vector){0};
        bool ends;
        do {
            a += run->skip;
            multiply_run(rows, vectors, by_rows, sum, &a, work->stride_a, run->length, &b, work->step_b);
            ends = run->ends_chain;
            run++;
        } while (!ends);
        put_tile(rows, vectors, sum, work, adds);
    }
}

#define TILES_OF(rows, vectors) \
    TARGET static void by_rows_##rows##_##vectors(const struct tile_work *work) { multiply_tile(rows, vectors, true, work); } \
    TARGET static void by_columns_##rows##_##vectors(const struct tile_work *work) { multiply_tile(rows, vectors, false, work); }
#if VECTORS == 3
#define TILES(rows) TILES_OF(rows, 1) TILES_OF(rows, 2) TILES_OF(rows, 3)
#define NAMES(kind, rows) {kind##_##rows##_1, kind##_##rows##_2, kind##_##rows##_3}
#else
#define TILES(rows) TILES_OF(rows, 1)
#define NAMES(kind, rows) {kind##_##rows##_1}
#endif
TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6)
#if ROWS == 8
TILES(7) TILES(8)
#define ALL_NAMES(kind) {NAMES(kind, 1), NAMES(kind, 2), NAMES(kind, 3), NAMES(kind, 4), NAMES(kind, 5), NAMES(kind, 6), \
                         NAMES(kind, 7), NAMES(kind, 8)}
#else
#define ALL_NAMES(kind) {NAMES(kind, 1), NAMES(kind, 2), NAMES(kind, 3), NAMES(kind, 4), NAMES(kind, 5), NAMES(kind, 6)}
#endif

/// Sixteen rows of sixteen words, transposed: columns `from[j * stride + i]` become rows `to[i * step + j]`.
TARGET static void transpose_sixteen(float *to, size_t step, const float *from, size_t stride) {
    vector r[16], s[16];
    UNROLLED for (int i = 0; i < 16; i++) r[i] = *(const loose_vector *)(from + (size_t)i * stride);
    UNROLLED for (int i = 0; i < 16; i += 2) {
        s[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
        s[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    }
    UNROLLED for (int i = 0; i < 16; i += 4)
        UNROLLED for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = __builtin_shufflevector(s[i + j], s[i + j + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
            r[i + 2 * j + 1] =
                __builtin_shufflevector(s[i + j], s[i + j + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
        }
    // r[4 q + c] now has column c of each group of four columns, of the rows of quarter q.
    UNROLLED for (int c = 0; c < 4; c++) {
        vector low = __builtin_shufflevector(r[c], r[4 + c], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
        vector odd = __builtin_shufflevector(r[c], r[4 + c], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
        vector low2 = __builtin_shufflevector(r[8 + c], r[12 + c], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
        vector odd2 = __builtin_shufflevector(r[8 + c], r[12 + c], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
        s[c] = __builtin_shufflevector(low, low2, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
        s[4 + c] = __builtin_shufflevector(odd, odd2, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
        s[8 + c] = __builtin_shufflevector(low, low2, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
        s[12 + c] = __builtin_shufflevector(odd, odd2, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    }
    UNROLLED for (int i = 0; i < 16; i++) *(loose_vector *)(to + (size_t)i * step) = s[i];
}

/// To bfloat16, to nearest and ties to even; NaN stays NaN, and what is too small for a normal number becomes zero.
TILE_INLINE void round_vector(vector *x) {
    words bits = (words)*x, magnitude = bits & 0x7fffffffu;
    words nan = (words)(magnitude > 0x7f800000u), nearest = bits + 0x7fff + ((bits >> 16) & 1);
    words upper = ((nan & (bits | 0x400000u)) | (~nan & nearest)) & 0xffff0000u;
    words tiny = (words)((upper & 0x7f800000u) == 0);
    *x = (vector)(upper & ~(tiny & 0x7fffffffu));
}

TILE_INLINE void copy_panel_rows(bool rounds, float *to, const float *from, size_t stride, size_t vectors, size_t depth) {
    for (size_t i = 0; i < depth; i++, to += 16 * vectors) {
        const float *row = from + (rounds ? i ^ 1 : i) * stride;
        for (size_t v = 0; v < vectors; v++) {
            vector x = *(const loose_vector *)(row + 16 * v);
            if (rounds) round_vector(&x);
            *(loose_vector *)(to + 16 * v) = x;
        }
    }
}

/// A whole panel from words of b that stand in rows. `depth` is even where they are rounded.
TARGET static void copy_panel(bool rounds, float *to, const float *from, size_t stride, size_t vectors, size_t depth) {
    if (rounds) return copy_panel_rows(true, to, from, stride, vectors, depth);
    if (vectors == VECTORS) return copy_panel_rows(false, to, from, stride, VECTORS, depth);
    copy_panel_rows(false, to, from, stride, vectors, depth);
}

/// One row of a panel. `to` may be `from`.
TARGET static void copy_panel_row(bool rounds, float *to, const float *from, size_t vectors) {
    for (size_t v = 0; v < vectors; v++) {
        vector x = *(const loose_vector *)(from + 16 * v);
        if (rounds) round_vector(&x);
        *(loose_vector *)(to + 16 * v) = x;
    }
}

/// So many whole tiles from words of a that stand in columns: each (depth, ROWS). `depth` is even where they are rounded.
TILE_INLINE void copy_tile_rows(bool rounds, float *to, const float *from, size_t stride, size_t tiles, size_t depth) {
    for (size_t i = 0; i < depth; i++, to += ROWS)
        for (size_t tile = 0; tile < tiles; tile++) {
            const float *row = from + (rounds ? i ^ 1 : i) * stride + tile * ROWS;
            __builtin_prefetch(row + FETCHED_AHEAD * stride);
            vector values = {0};
            memcpy(&values, row, ROWS * sizeof(float));
            if (rounds) round_vector(&values);
            memcpy(to + tile * depth * ROWS, &values, ROWS * sizeof(float));
        }
}

TARGET static void copy_tiles(bool rounds, float *to, const float *from, size_t stride, size_t tiles, size_t depth) {
    if (rounds)
        copy_tile_rows(true, to, from, stride, tiles, depth);
    else
        copy_tile_rows(false, to, from, stride, tiles, depth);
}

/// A row rounded, neighbours changing places: to[i] = x[i ^ 1], with a zero for the one that is missing where `length` is odd.
TARGET static void round_row(float *to, const float *x, size_t length) {
    for (size_t i = 0; i < length; i += 16) {
        size_t here = length - i < 16 ? length - i : 16;
        vector values = {0};
        if (here == 16)
            values = *(const loose_vector *)(x + i);
        else
            memcpy(&values, x + i, here * sizeof(float));
        values = __builtin_shufflevector(values, values, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
        round_vector(&values);
        if (here == 16)
            *(loose_vector *)(to + i) = values;
        else
            memcpy(to + i, &values, (here + 1) / 2 * 2 * sizeof(float));
    }
}

/// The upper half of a float, rounded likewise, as the lower half of a word.
TILE_INLINE uint32_t half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint32_t nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    uint32_t upper = (bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16) | 0x40 : nearest;
    return (upper & 0x7f80) == 0 ? upper & 0x8000 : upper;
}

/// to[i] = the pair (x[i], y[i]), y being zeros where it is null.
TARGET static void pair_rows(float *to, const float *x, const float *y, size_t count) {
    uint32_t *pairs = (uint32_t *)(void *)to;
    if (y)
        for (size_t i = 0; i < count; i++) pairs[i] = half(x[i]) | half(y[i]) << 16;
    else
        for (size_t i = 0; i < count; i++) pairs[i] = half(x[i]);
}

/// to[i] = the pair (x[2 i], x[2 i + 1]), the last of which is zero where `length` is odd.
TARGET static void pair_neighbours(float *to, const float *x, size_t length) {
    uint32_t *pairs = (uint32_t *)(void *)to;
    for (size_t i = 0; i < length / 2; i++) pairs[i] = half(x[2 * i]) | half(x[2 * i + 1]) << 16;
    if (length % 2) pairs[length / 2] = half(x[length - 1]);
}

static const tile_function INSTANCE(by_rows)[MAXIMUM_ROWS][MAXIMUM_VECTORS] = ALL_NAMES(by_rows);
static const tile_function INSTANCE(by_columns)[MAXIMUM_ROWS][MAXIMUM_VECTORS] = ALL_NAMES(by_columns);

const struct product_kernels INSTANCE(product_kernels) = {
    .rows = ROWS, .vectors = VECTORS, .by_rows = INSTANCE(by_rows), .by_columns = INSTANCE(by_columns),
    .transpose_sixteen = transpose_sixteen, .copy_panel = copy_panel, .copy_panel_row = copy_panel_row, .copy_tiles = copy_tiles,
    .round_row = round_row, .pair_rows = pair_rows, .pair_neighbours = pair_neighbours,
};
