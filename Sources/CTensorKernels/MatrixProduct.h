#pragma once
// What the operations of this module share of matrix products (MatrixProduct.c).
#include "CTensorKernels.h"
#include "ProductKernels.h"

/// A chain is cut after so many elements of k; the parts are added to c in order. Part of the arithmetic: another number gives other bits.
enum { CHAIN = 256 };

/// The kernels in use, of floats. An operation asks once: tests change them at any time.
const struct product_kernels *product_kernels(void);

/// How sixteens of columns are dealt out to panels, none wider than a tile, as evenly as can be.
struct panel_plan {
    size_t columns, units, count;
};
struct panel_plan panel_plan(const struct product_kernels *kernels, size_t columns);
/// The units before panel `index`.
static inline size_t panel_start(const struct panel_plan *plan, size_t index) {
    size_t each = plan->units / plan->count, more = plan->units % plan->count;
    return index * each + (index < more ? index : more);
}

/// Floats that the panels of `depth` words take.
static inline size_t panels_size(const struct panel_plan *plan, size_t depth) { return 16 * plan->units * depth; }
/// Copies op(b), `length` x `columns`, into panels, each (depth, 16 units); what is not there is zero. `depth` is `length`.
void pack_panels(const struct product_kernels *kernels, const struct panel_plan *plan, float *to, const float *b, size_t stride,
                 bool transposed, size_t length);

/// What a is: rows side by side in k, or columns of it side by side in the rows.
struct left_factor {
    const float *words;
    /// Between rows (by rows), or between words of a row (by columns).
    size_t stride;
    /// From a tile to the next, for each row of the first.
    size_t row_step;
    /// By columns: whether each tile stands by itself, (depth, rows of the tile); `stride` is not used then.
    bool by_rows, is_tiled;
    const struct product_run *runs;
    size_t run_count;
};

/// What b is: panels, `panel_depth` words each; or, where `stride` is not 0, rows so far apart, of whole sixteens.
struct right_factor {
    struct panel_plan plan;
    const float *words;
    size_t panel_depth, stride;
    /// The first of the panels' words that the product takes.
    size_t start;
};

/// c = or += a b, for `rows` rows of a, and for the first `columns` columns of b.
void multiply_rows(const struct product_kernels *kernels, const struct left_factor *a, size_t rows, const struct right_factor *b,
                   size_t columns, float *c, size_t stride_c, bool adds);

/// Every k's panels of a factor that several products share: packed once, for all of its columns.
struct packed_factor {
    const struct product_kernels *kernels;
    size_t k, columns;
    float *words;
};
/// Floats that `pack_factor` writes.
size_t packed_factor_size(size_t k, size_t columns);
/// Packs op(b), k x columns, into `factor->words`.
void pack_factor(struct packed_factor *factor, const float *b, size_t stride, bool transposed);
/// c = op(a) b, or c += op(a) b, with the first k rows and n columns of b, by the calling thread.
void multiply_packed(bool transpose_a, size_t m, size_t n, size_t k, const float *a, size_t stride_a, const struct packed_factor *b,
                     bool accumulate, float *c, size_t stride_c);
