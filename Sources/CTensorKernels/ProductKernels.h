#pragma once
// What the products of one instruction set are made of. The instances stand in ProductAVX512.c and its like, all of ProductTiles.h.
//
// A word is what a chain takes at a time: a float, or a pair of bfloat16 as the lower and upper half of 32 bits. Memory of words is
// declared as float either way; pairs are moved and never computed with as such. A chain of pairs takes the odd element of each first, so
// that one of floats which were rounded to bfloat16, with neighbours in k changing places, gives the same bits.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAXIMUM_ROWS = 8, MAXIMUM_VECTORS = 3 };

/// Words of a that stand in order: `stride_a` apart for tiles by columns, side by side for tiles by rows.
struct product_run {
    /// From the end of the run before, in floats.
    ptrdiff_t skip;
    size_t length;
    /// Whether the chain is cut behind it: the sums are added to c, and begin again from zero. True for the last.
    bool ends_chain;
};

/// One tile: c[r, j] = or += the chains over i of a(r, i) b(i, j), for j < columns.
struct tile_work {
    /// By rows, word i of row r of the first run is a[r stride_a + i]; by columns it is a[i stride_a + r].
    const float *a;
    size_t stride_a;
    const struct product_run *runs;
    size_t run_count;
    /// Row i of b begins at b[i step_b]; the runs' words are counted through. Whole vectors are read.
    const float *b;
    size_t step_b;
    float *c;
    size_t stride_c;
    size_t columns;
    bool adds;
};

typedef void (*tile_function)(const struct tile_work *work);

struct product_kernels {
    /// Of the largest tile.
    int rows, vectors;
    /// By rows - 1 and vectors - 1.
    const tile_function (*by_rows)[MAXIMUM_VECTORS], (*by_columns)[MAXIMUM_VECTORS];
    /// to[i step + j] = from[j stride + i] for i, j < 16.
    void (*transpose_sixteen)(float *to, size_t step, const float *from, size_t stride);
    /// A whole panel of b, (depth, 16 vectors), from rows; whole tiles of a, (depth, rows) each, from columns. Rounded to bfloat16 if asked
    /// to, in which case `depth` is even and neighbours in k change places.
    void (*copy_panel)(bool rounds, float *to, const float *from, size_t stride, size_t vectors, size_t depth);
    void (*copy_tiles)(bool rounds, float *to, const float *from, size_t stride, size_t tiles, size_t depth);
    /// One row of a panel, rounded if asked to; `to` may be `from`.
    void (*copy_panel_row)(bool rounds, float *to, const float *from, size_t vectors);
    /// A row of a rounded likewise, to an even number of words: zero takes the place of what an odd one lacks.
    void (*round_row)(float *to, const float *x, size_t length);
    /// Words of pairs: of two rows, of which the second may be null, and of neighbours in one row.
    void (*pair_rows)(float *to, const float *x, const float *y, size_t count);
    void (*pair_neighbours)(float *to, const float *x, size_t length);
};

extern const struct product_kernels baseline_product_kernels;
#if defined(__x86_64__)
extern const struct product_kernels avx2_product_kernels, avx512_product_kernels, pairs_product_kernels;
#else
extern const struct product_kernels flushing_product_kernels;
#endif
