// Matrix products in a fixed order: an element of c is one chain of fused multiply-adds over k ascending, from zero, cut at CHAIN; the parts
// are added to c in order. Sizes of tiles, blocks and panels, and threads, which divide rows or columns and never k, cannot be seen in
// that, so they are free.
//
// The method is that of K. Goto, R. van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34 (2008), but for the
// caches' parts: b is copied into panels as wide as a tile, of which a block stays in the second-level cache; the rows of a that a tile
// needs stay in the first, for all panels of the block; and a tile of c stays in registers. a is read where it is, unless its addresses
// fall on one another in the caches.
#include "MatrixProduct.h"
#include "Kernel.h"
#include "Pool.h"
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/// Chains at a time, so that a tile of c comes from the second-level cache between them: 8 rows of a with as many words are 24 KiB of the
/// first-level cache.
enum { CHAINS = 3 };
/// Words of a transposed a, gaps included, that are read where they are at any distance: what fits into the first-level cache.
enum { IN_PLACE = 8192 };
/// Rows whose distance is a multiple of so many words fall into the same places of a first-level cache.
enum { CONFLICT = 1024 };
/// Between copied rows: not a multiple of CONFLICT.
enum { COPIED_STRIDE = CHAINS * CHAIN + 16 };
/// Rows of c up to which b is read where it is, if its rows are whole sixteens.
enum { FEW_ROWS = 128 };
/// Columns of c from which on copying rows of a pays.
enum { COPIES_FROM = 96 };
/// Two tiles' rows and more at a time, so that whole cache lines are read where a is transposed.
enum { COPIED_TILES = 4 };
/// Multiplications that are worth another thread.
enum { WORTH_A_THREAD = 1 << 18 };

INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }
INLINE size_t parts_of(size_t n, size_t size) { return (n + size - 1) / size; }
INLINE size_t rounded_up(size_t n, size_t unit) { return parts_of(n, unit) * unit; }

const struct product_kernels *product_kernels(void) {
#if defined(__x86_64__)
    switch (lockstep_kernels_in_use()) {
    case LOCKSTEP_AVX512: return &avx512_product_kernels;
    case LOCKSTEP_AVX2: return &avx2_product_kernels;
    case LOCKSTEP_BASELINE: break;
    }
#endif
    return &baseline_product_kernels;
}

/// Those for floats that were rounded to bfloat16.
static const struct product_kernels *rounded_kernels(void) {
#if defined(__x86_64__)
    return product_kernels();
#else
    return &flushing_product_kernels;
#endif
}

/// What tests ask for: pairs, floats (0), or neither (-1).
static atomic_int asked_for_pairs = -1;

/// Those for pairs of bfloat16, where they are faster than those for floats; null elsewhere.
static const struct product_kernels *pair_kernels(void) {
#if defined(__x86_64__)
    int asked = atomic_load_explicit(&asked_for_pairs, memory_order_relaxed);
    if (lockstep_uses_bfloat16() && (asked < 0 ? __builtin_cpu_is("amd") : asked)) return &pairs_product_kernels;
#endif
    return NULL;
}

bool tensor_use_pairs(bool use) {
    if (!lockstep_uses_bfloat16()) return false;
    atomic_store(&asked_for_pairs, use);
    return true;
}

/// Words of b at a time: half of the second-level cache.
static size_t block_words(void) {
    static size_t words;
    if (!words) {
        long bytes = -1;
#if defined(_SC_LEVEL2_CACHE_SIZE)
        bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
        size_t known = bytes < 262144 ? 524288 : bytes > 4194304 ? 4194304 : (size_t)bytes;
        words = known / 2 / sizeof(float);
    }
    return words;
}

// MARK: Panels and tiles

struct panel_plan panel_plan(const struct product_kernels *kernels, size_t columns) {
    size_t units = parts_of(columns, 16);
    return (struct panel_plan){columns, units, parts_of(units, (size_t)kernels->vectors)};
}

/// `width` columns of a panel, whose rows are `step` wide, from words that stand in columns.
static void pack_columns(const struct product_kernels *kernels, float *to, size_t step, const float *b, size_t stride, size_t width,
                         size_t columns, size_t depth) {
    for (size_t first = 0; first < width; first += 16, b += 16 * stride) {
        size_t here = first < columns ? least(16, columns - first) : 0, i = 0;
        if (here == 16)
            for (; i + 16 <= depth; i += 16) kernels->transpose_sixteen(to + i * step + first, step, b + i, stride);
        for (; i < depth; i++)
            for (size_t j = 0; j < 16; j++) to[i * step + first + j] = j < here ? b[j * stride + i] : 0;
    }
}

/// The same, rounded: `length` floats of each column to an even number of words. `space` holds sixteen copied rows.
static void round_columns(const struct product_kernels *kernels, float *to, const float *b, size_t stride, size_t width, size_t columns,
                          size_t length, float *space) {
    for (size_t first = 0; first < width; first += 16) {
        size_t here = first < columns ? least(16, columns - first) : 0;
        for (size_t j = 0; j < here; j++) kernels->round_row(space + j * COPIED_STRIDE, b + (first + j) * stride, length);
        pack_columns(kernels, to + first, width, space, COPIED_STRIDE, 16, here, rounded_up(length, 2));
    }
}

/// One panel from words that stand in rows.
static void pack_rows(const struct product_kernels *kernels, bool rounds, float *to, const float *b, size_t stride, size_t width,
                      size_t columns, size_t length) {
    size_t whole = columns < width ? 0 : rounds ? length / 2 * 2 : length;
    if (whole) kernels->copy_panel(rounds, to, b, stride, width / 16, whole);
    // What does not fill the panel's width, or a pair, is brought to a whole row first.
    float row[16 * MAXIMUM_VECTORS] = {0};
    for (size_t i = whole; i < (rounds ? rounded_up(length, 2) : length); i++) {
        size_t from = rounds ? i ^ 1 : i;
        memset(row, 0, sizeof row);
        if (from < length) memcpy(row, b + from * stride, columns * sizeof(float));
        kernels->copy_panel_row(rounds, to + i * width, row, width / 16);
    }
}

/// `space` is needed where words are rounded.
static void pack(const struct product_kernels *kernels, bool rounds, const struct panel_plan *plan, float *to, const float *b,
                 size_t stride, bool transposed, size_t length, float *space) {
    size_t depth = rounds ? rounded_up(length, 2) : length;
    for (size_t panel = 0; panel < plan->count; panel++) {
        size_t start = 16 * panel_start(plan, panel), width = 16 * panel_start(plan, panel + 1) - start;
        size_t columns = least(width, plan->columns - start);
        if (!transposed)
            pack_rows(kernels, rounds, to + start * depth, b + start, stride, width, columns, length);
        else if (rounds)
            round_columns(kernels, to + start * depth, b + start * stride, stride, width, columns, length, space);
        else
            pack_columns(kernels, to + start * depth, width, b + start * stride, stride, width, columns, length);
    }
}

void pack_panels(const struct product_kernels *kernels, const struct panel_plan *plan, float *to, const float *b, size_t stride,
                 bool transposed, size_t length) {
    pack(kernels, false, plan, to, b, stride, transposed, length, NULL);
}

/// Panels of pairs from floats of b that stand in rows: `length` of them to `depth` pairs.
static void pair_panels(const struct product_kernels *kernels, const struct panel_plan *plan, float *to, const float *b, size_t stride,
                        size_t length) {
    size_t depth = parts_of(length, 2);
    for (size_t panel = 0; panel < plan->count; panel++) {
        size_t start = 16 * panel_start(plan, panel), width = 16 * panel_start(plan, panel + 1) - start;
        size_t columns = least(width, plan->columns - start);
        float *row = to + start * depth;
        for (size_t i = 0; i < length; i += 2, row += width) {
            const float *first = b + i * stride + start;
            kernels->pair_rows(row, first, i + 1 < length ? first + stride : NULL, columns);
            for (size_t j = columns; j < width; j++) row[j] = 0;
        }
    }
}

void multiply_rows(const struct product_kernels *kernels, const struct left_factor *a, size_t rows, const struct right_factor *b,
                   size_t columns, float *c, size_t stride_c, bool adds) {
    const tile_function(*tiles)[MAXIMUM_VECTORS] = a->by_rows ? kernels->by_rows : kernels->by_columns;
    struct tile_work work = {.a = a->words, .stride_a = a->stride, .runs = a->runs, .run_count = a->run_count, .stride_c = stride_c,
                             .adds = adds};
    size_t count = parts_of(rows, (size_t)kernels->rows), each = rows / count, more = rows % count;
    for (size_t i = 0; i < count; i++) {
        size_t height = each + (i < more);
        if (a->is_tiled) work.stride_a = height;
        for (size_t panel = 0, unit = 0; 16 * unit < columns; panel++) {
            size_t next = panel_start(&b->plan, panel + 1);
            work.step_b = b->stride ? b->stride : 16 * (next - unit);
            work.b = b->words + 16 * unit * (b->stride ? 1 : b->panel_depth) + b->start * work.step_b;
            work.c = c + 16 * unit;
            work.columns = least(16 * (next - unit), columns - 16 * unit);
            tiles[height - 1][next - unit - 1](&work);
            unit = next;
        }
        work.a += height * a->row_step;
        c += height * stride_c;
    }
}

/// The runs of plain rows or columns of so many words, cut after `chain` of them; their number, at most CHAINS for a block.
static size_t plain_runs(struct product_run *runs, size_t words, size_t chain) {
    size_t count = parts_of(words, chain);
    for (size_t i = 0; i < count; i++) runs[i] = (struct product_run){0, least(chain, words - i * chain), true};
    return count;
}

// MARK: Products of floats

struct product {
    /// Taken once for the whole product: tests change the kernels in use at any time.
    const struct product_kernels *kernels;
    bool is_paired, bfloat16, transpose_a, transpose_b, accumulate;
    size_t m, n, k;
    const float *a;
    size_t stride_a;
    const float *b;
    size_t stride_b;
    float *c;
    size_t stride_c;
    float *scratch;
};

/// Columns of b at a time, a multiple of 16, where at most `depth` words of each are there.
static size_t block_columns(size_t n, size_t depth) {
    size_t fits = block_words() / depth / 48 * 48, most = fits < 48 ? 48 : fits;
    return rounded_up(parts_of(n, parts_of(n, most)), 16);
}

enum { LEFT_SCRATCH = COPIED_TILES * MAXIMUM_ROWS * COPIED_STRIDE };

/// Whether a is copied before it is used.
static bool copies_left(const struct product *p) {
    if (p->bfloat16) return true;
    if (p->transpose_a) return p->k * p->stride_a > IN_PLACE && p->stride_a % (CONFLICT / 2) == 0;
    return p->stride_a % CONFLICT == 0 && p->n >= COPIES_FROM;
}

/// From words of a that stand in columns to tiles, as `multiply_rows` deals out rows.
static void copy_tiles(const struct product_kernels *kernels, bool rounds, float *to, const float *a, size_t stride, size_t rows,
                       size_t length) {
    size_t count = parts_of(rows, (size_t)kernels->rows), each = rows / count, more = rows % count;
    size_t depth = rounds ? rounded_up(length, 2) : length;
    if (more == 0 && each == (size_t)kernels->rows && depth == length)
        return kernels->copy_tiles(rounds, to, a, stride, count, depth);
    float row[16] = {0};
    for (size_t tile = 0; tile < count; tile++) {
        size_t height = each + (tile < more);
        for (size_t i = 0; i < depth; i++, to += height) {
            size_t from = rounds ? i ^ 1 : i;
            memset(row, 0, sizeof row);
            if (from < length) memcpy(row, a + from * stride, height * sizeof(float));
            if (rounds) kernels->copy_panel_row(true, row, row, 1);
            memcpy(to, row, height * sizeof(float));
        }
        a += height;
    }
}

static void copy_rows(const struct product_kernels *kernels, bool rounds, float *to, const float *a, size_t stride, size_t rows,
                      size_t length) {
    for (size_t r = 0; r < rows; r++, to += COPIED_STRIDE, a += stride)
        if (rounds)
            kernels->round_row(to, a, length);
        else
            memcpy(to, a, length * sizeof(float));
}

/// All rows times one block of b, with a few tiles' rows of a copied at a time.
static void multiply_copied(const struct product_kernels *kernels, const struct product *p, struct left_factor left, size_t length,
                            const struct right_factor *b, float *c, bool adds, float *space) {
    const float *words = left.words;
    left.words = space;
    left.is_tiled = p->transpose_a;
    left.row_step = p->transpose_a ? b->panel_depth : COPIED_STRIDE;
    if (!p->transpose_a) left.stride = COPIED_STRIDE;
    size_t tiles = parts_of(p->m, (size_t)kernels->rows), each = p->m / tiles, more = p->m % tiles;
    for (size_t tile = 0; tile < tiles; tile += COPIED_TILES) {
        size_t last = least(tile + COPIED_TILES, tiles);
        size_t rows = (last - tile) * each + (least(last, more) - least(tile, more));
        if (p->transpose_a)
            copy_tiles(kernels, p->bfloat16, space, words, p->stride_a, rows, length);
        else
            copy_rows(kernels, p->bfloat16, space, words, p->stride_a, rows, length);
        multiply_rows(kernels, &left, rows, b, b->plan.columns, c, p->stride_c, adds);
        words += p->transpose_a ? rows : rows * p->stride_a;
        c += rows * p->stride_c;
    }
}

/// All rows times one block of b: elements `start` ..< `start + length` of k, columns from `column` on.
static void multiply_block(const struct product_kernels *kernels, const struct product *p, const struct right_factor *b, size_t start,
                           size_t length, size_t column, float *space) {
    struct product_run runs[CHAINS];
    bool adds = p->accumulate || start > 0;
    const float *words = p->transpose_a ? p->a + start * p->stride_a : p->a + start;
    struct left_factor left = {words, p->stride_a, p->transpose_a ? 1 : p->stride_a, !p->transpose_a, false, runs,
                               plain_runs(runs, b->panel_depth, CHAIN)};
    float *c = p->c + column;
    if (copies_left(p)) return multiply_copied(kernels, p, left, length, b, c, adds, space);
    multiply_rows(kernels, &left, p->m, b, b->plan.columns, c, p->stride_c, adds);
}

/// Where few rows use b, copying it costs more than it saves.
static bool is_read_in_place(const struct product *p) {
    return !p->bfloat16 && !p->transpose_b && p->m <= FEW_ROWS && p->n % 16 == 0;
}

/// The product with b where it is: one panel's columns after the other, for all rows.
static void multiply_in_place(const struct product *p) {
    const struct product_kernels *kernels = p->kernels;
    struct panel_plan plan = panel_plan(kernels, p->n);
    for (size_t start = 0; start < p->k; start += CHAINS * CHAIN) {
        size_t length = least(CHAINS * CHAIN, p->k - start);
        for (size_t panel = 0; panel < plan.count; panel++) {
            size_t column = 16 * panel_start(&plan, panel), columns = 16 * panel_start(&plan, panel + 1) - column;
            struct right_factor right = {panel_plan(kernels, columns), p->b + start * p->stride_b + column, length, p->stride_b, 0};
            multiply_block(kernels, p, &right, start, length, column, p->scratch);
        }
    }
}

/// Words of a block of k.
static size_t block_depth(const struct product *p) { return rounded_up(least(p->k, CHAINS * CHAIN), p->bfloat16 ? 2 : 1); }

static size_t packing_scratch(const struct product *p) {
    size_t depth = block_depth(p);
    return depth * block_columns(p->n, depth) + LEFT_SCRATCH;
}

static void multiply_packing(const struct product *p) {
    const struct product_kernels *kernels = p->kernels;
    size_t most = block_depth(p), width = block_columns(p->n, most);
    float *panels = p->scratch, *space = panels + most * width;
    for (size_t start = 0; start < p->k; start += CHAINS * CHAIN) {
        size_t length = least(CHAINS * CHAIN, p->k - start), depth = p->bfloat16 ? rounded_up(length, 2) : length;
        for (size_t column = 0; column < p->n; column += width) {
            struct right_factor right = {panel_plan(kernels, least(width, p->n - column)), panels, depth, 0, 0};
            const float *b = p->transpose_b ? p->b + column * p->stride_b + start : p->b + start * p->stride_b + column;
            pack(kernels, p->bfloat16, &right.plan, panels, b, p->stride_b, p->transpose_b, length, space);
            multiply_block(kernels, p, &right, start, length, column, space);
        }
    }
}

/// to[j, i] = from[i, j], from being (rows, columns).
static void transpose(const struct product_kernels *kernels, float *to, size_t stride_to, const float *from, size_t stride_from,
                      size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i += 16)
        for (size_t j = 0; j < columns; j += 16) {
            const float *corner = from + i * stride_from + j;
            float *target = to + j * stride_to + i;
            if (i + 16 <= rows && j + 16 <= columns)
                kernels->transpose_sixteen(target, stride_to, corner, stride_from);
            else
                for (size_t c = 0; c < least(16, columns - j); c++)
                    for (size_t r = 0; r < least(16, rows - i); r++) target[c * stride_to + r] = corner[r * stride_from + c];
        }
}

/// Whether c is computed as the transpose of op(b)^T op(a)^T: where packing b would take a good part of the time, since few rows use it.
static bool is_turned(const struct product *p) {
    return !p->bfloat16 && p->transpose_b && p->m <= 96 && p->n >= 4 * p->m && p->m >= 16;
}

/// What is computed instead, into scratch memory.
static struct product turned(const struct product *p) {
    size_t stride = rounded_up(p->m, 16);
    return (struct product){p->kernels, false, false, !p->transpose_b, !p->transpose_a, p->accumulate, p->n, p->m, p->k, p->b, p->stride_b, p->a,
                            p->stride_a, p->scratch, stride, p->scratch + p->n * stride};
}

static void multiply_turned(const struct product *p) {
    struct product other = turned(p);
    if (p->accumulate) transpose(p->kernels, other.c, other.stride_c, p->c, p->stride_c, p->m, p->n);
    multiply_packing(&other);
    transpose(p->kernels, p->c, p->stride_c, other.c, other.stride_c, p->n, p->m);
}

// MARK: Products of pairs

/// Pairs at a time, and between the rows of what is copied of a.
enum { PAIR_CHAIN = CHAIN / 2, PAIRS = CHAINS * PAIR_CHAIN, PAIR_STRIDE = PAIRS + 16 };

/// Words for a's pairs: all rows of one block of k.
static size_t left_pairs(const struct product *p) {
    return p->transpose_a ? least(parts_of(p->k, 2), PAIRS) * (rounded_up(p->m, 16) + 16) : p->m * PAIR_STRIDE;
}

static size_t pairs_scratch(const struct product *p) {
    size_t depth = least(parts_of(p->k, 2), PAIRS);
    return left_pairs(p) + depth * block_columns(p->n, depth) + 16 * PAIR_STRIDE;
}

/// One block of op(b) as panels of pairs: floats `start` ..< `start + length` of k.
static void pack_pairs(const struct product_kernels *kernels, const struct product *p, const struct panel_plan *plan, float *to,
                       size_t start, size_t length, size_t column, float *space) {
    if (!p->transpose_b) return pair_panels(kernels, plan, to, p->b + start * p->stride_b + column, p->stride_b, length);
    size_t depth = parts_of(length, 2);
    for (size_t panel = 0; panel < plan->count; panel++) {
        size_t first = 16 * panel_start(plan, panel), width = 16 * panel_start(plan, panel + 1) - first;
        for (size_t unit = 0; unit < width; unit += 16) {
            size_t here = first + unit < plan->columns ? least(16, plan->columns - first - unit) : 0;
            for (size_t j = 0; j < here; j++)
                kernels->pair_neighbours(space + j * PAIR_STRIDE, p->b + (column + first + unit + j) * p->stride_b + start, length);
            pack_columns(kernels, to + first * depth + unit, width, space, PAIR_STRIDE, 16, here, depth);
        }
    }
}

static void multiply_pairs(const struct product *p) {
    const struct product_kernels *kernels = p->kernels;
    size_t most = least(parts_of(p->k, 2), PAIRS), width = block_columns(p->n, most), stride = rounded_up(p->m, 16) + 16;
    float *left_words = p->scratch, *panels = left_words + left_pairs(p), *space = panels + most * width;
    for (size_t start = 0; start < p->k; start += CHAINS * CHAIN) {
        size_t length = least(CHAINS * CHAIN, p->k - start), depth = parts_of(length, 2);
        struct product_run runs[CHAINS];
        struct left_factor left = {left_words, PAIR_STRIDE, PAIR_STRIDE, !p->transpose_a, false, runs,
                                   plain_runs(runs, depth, PAIR_CHAIN)};
        if (p->transpose_a) {
            left.stride = stride;
            left.row_step = 1;
            for (size_t i = 0; i < length; i += 2) {
                const float *first = p->a + (start + i) * p->stride_a;
                kernels->pair_rows(left_words + i / 2 * stride, first, i + 1 < length ? first + p->stride_a : NULL, p->m);
            }
        } else
            for (size_t r = 0; r < p->m; r++)
                kernels->pair_neighbours(left_words + r * PAIR_STRIDE, p->a + r * p->stride_a + start, length);
        for (size_t column = 0; column < p->n; column += width) {
            struct right_factor right = {panel_plan(kernels, least(width, p->n - column)), panels, depth, 0, 0};
            pack_pairs(kernels, p, &right.plan, panels, start, length, column, space);
            multiply_rows(kernels, &left, p->m, &right, right.plan.columns, p->c + column, p->stride_c, p->accumulate || start > 0);
        }
    }
}

// MARK: Any product of bfloat16

/// What is too small for a normal number becomes zero, in either way.
static void multiply_bfloat16(const struct product *p) {
#if defined(__x86_64__)
    enum { FLUSH_TO_ZERO = 0x8000 };
    unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | FLUSH_TO_ZERO);
#endif
    if (p->is_paired)
        multiply_pairs(p);
    else
        multiply_packing(p);
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(before);
#endif
}

// MARK: Any product, by several threads

static size_t scratch_for(const struct product *p) {
    if (p->is_paired) return pairs_scratch(p);
    if (is_read_in_place(p)) return LEFT_SCRATCH;
    if (!is_turned(p)) return packing_scratch(p);
    struct product other = turned(p);
    return p->n * other.stride_c + packing_scratch(&other);
}

static void multiply(const struct product *p) {
    if (p->bfloat16)
        multiply_bfloat16(p);
    else if (is_read_in_place(p))
        multiply_in_place(p);
    else if (is_turned(p))
        multiply_turned(p);
    else
        multiply_packing(p);
}

/// A product in as many parts as threads are worth it: of whole sixteens of columns, or of rows where there are more of those.
struct division {
    const struct product *whole;
    size_t parts, scratch;
    bool by_columns;
};

static struct product part_of(const struct division *division, size_t part) {
    struct product p = *division->whole;
    size_t size = division->by_columns ? p.n : p.m, units = parts_of(size, 16);
    size_t first = least(size, part * units / division->parts * 16), last = least(size, (part + 1) * units / division->parts * 16);
    if (division->by_columns) {
        p.n = last - first;
        p.b += p.transpose_b ? first * p.stride_b : first;
        p.c += first;
    } else {
        p.m = last - first;
        p.a += p.transpose_a ? first : first * p.stride_a;
        p.c += first * p.stride_c;
    }
    p.scratch += part * division->scratch;
    return p;
}

/// At most `most` parts.
static struct division divide(const struct product *p, size_t most) {
    struct division division = {.whole = p, .by_columns = p->n >= p->m};
    size_t worth = 1 + p->m * p->n * p->k / WORTH_A_THREAD, units = parts_of(division.by_columns ? p->n : p->m, 16);
    division.parts = least(most, least(worth, units));
    for (size_t part = 0; part < division.parts; part++) {
        struct product piece = part_of(&(struct division){p, division.parts, 0, division.by_columns}, part);
        size_t needed = rounded_up(scratch_for(&piece), 16);
        if (needed > division.scratch) division.scratch = needed;
    }
    return division;
}

static void multiply_part(void *context, size_t part) {
    struct product piece = part_of(context, part);
    multiply(&piece);
}

size_t tensor_gemm_scratch(bool bfloat16, bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k) {
    if (m == 0 || n == 0 || k == 0) return 0;
    struct product p = {.bfloat16 = bfloat16, .transpose_a = transpose_a, .transpose_b = transpose_b, .m = m, .n = n, .k = k};
    struct division division = divide(&p, pool_threads());
    size_t floats = division.parts * division.scratch;
    if (!bfloat16) return floats;
    // Whether pairs are used may change until the product is taken.
    p.is_paired = true;
    division = divide(&p, pool_threads());
    return floats > division.parts * division.scratch ? floats : division.parts * division.scratch;
}

void tensor_gemm(bool bfloat16, bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, size_t stride_a,
                 const float *b, size_t stride_b, bool accumulate, float *c, size_t stride_c, float *scratch, size_t scratch_count) {
    if (m == 0 || n == 0) return;
    if (k == 0) {
        for (size_t i = 0; i < m && !accumulate; i++)
            for (size_t j = 0; j < n; j++) c[i * stride_c + j] = 0;
        return;
    }
    const struct product_kernels *pairs = bfloat16 ? pair_kernels() : NULL;
    const struct product_kernels *kernels = pairs ? pairs : bfloat16 ? rounded_kernels() : product_kernels();
    struct product p = {kernels, pairs != NULL, bfloat16, transpose_a, transpose_b, accumulate, m, n, k, a, stride_a, b, stride_b, c,
                        stride_c, scratch};
    struct division division = divide(&p, pool_threads());
    // Where there are more threads than when the scratch memory was measured.
    while (division.parts * division.scratch > scratch_count && division.parts > 1) division = divide(&p, division.parts - 1);
    pool_run(division.parts, multiply_part, &division);
}

// MARK: A factor that several products share

size_t packed_factor_size(size_t k, size_t columns) { return k * rounded_up(columns, 16); }

void pack_factor(struct packed_factor *factor, const float *b, size_t stride, bool transposed) {
    struct panel_plan plan = panel_plan(factor->kernels, factor->columns);
    pack_panels(factor->kernels, &plan, factor->words, b, stride, transposed, factor->k);
}

void multiply_packed(bool transpose_a, size_t m, size_t n, size_t k, const float *a, size_t stride_a, const struct packed_factor *b,
                     bool accumulate, float *c, size_t stride_c) {
    struct right_factor right = {panel_plan(b->kernels, b->columns), b->words, b->k, 0, 0};
    for (size_t start = 0; start < k; start += CHAINS * CHAIN) {
        struct product_run runs[CHAINS];
        const float *words = transpose_a ? a + start * stride_a : a + start;
        struct left_factor left = {words, stride_a, transpose_a ? 1 : stride_a, !transpose_a, false, runs,
                                   plain_runs(runs, least(CHAINS * CHAIN, k - start), CHAIN)};
        right.start = start;
        multiply_rows(b->kernels, &left, m, &right, n, c, stride_c, accumulate || start > 0);
    }
}
