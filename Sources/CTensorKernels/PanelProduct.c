// The method is that of K. Goto, R. van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34 (2008): b is copied
// into panels as wide as a tile, a block of a stays in the second-level cache, a panel of b in the first, and a tile of c in registers.
#include "PanelProduct.h"
#include <string.h>

#if defined(__x86_64__)

/// A tile of c: ROWS x WIDTH in twelve registers of eight, which leaves two for b and two for a.
enum { ROWS = 6, WIDTH = 16 };
/// Elements of k at a time: a panel of b, DEPTH x WIDTH, takes half of a first-level cache of 32 KiB.
enum { DEPTH = 256 };
/// Rows of a at a time, a multiple of ROWS: with DEPTH columns, 192 KiB of a second-level cache of 512.
enum { BLOCK_ROWS = 192 };
/// Columns of b at a time, a multiple of WIDTH.
enum { BLOCK_COLUMNS = 512 };

/// Elements of a transposed a, gaps included, that are read where they are: what fits into the first-level cache.
enum { IN_PLACE = 8192 };

#define AVX2 __attribute__((target("avx2,fma")))
#define AVX2_INLINE static inline __attribute__((always_inline, target("avx2,fma")))

typedef float vector __attribute__((vector_size(32)));
typedef float loose_vector __attribute__((vector_size(32), aligned(4)));

AVX2_INLINE vector load(const float *x) { return *(const loose_vector *)x; }
AVX2_INLINE void store(float *x, vector v) { *(loose_vector *)x = v; }
INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }
INLINE size_t rounded_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

bool panel_product_is_for_this_cpu(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && !__builtin_cpu_supports("avx512f");
}

size_t panel_product_scratch(bool transpose_a, size_t m, size_t n, size_t k) {
    size_t depth = least(k, DEPTH);
    return depth * rounded_up(least(n, BLOCK_COLUMNS), WIDTH) + (transpose_a ? depth * rounded_up(least(m, BLOCK_ROWS), ROWS) : 0);
}

/// c[r, 0 ..< columns] = or += the sum over i < depth of a[r row_stride + i step] b[i, :]. b is a panel of WIDTH columns.
AVX2_INLINE void tile(int rows, const float *a, size_t row_stride, size_t step, const float *b, size_t depth, bool accumulate,
                      float *c, size_t stride_c, size_t columns) {
    vector left[ROWS], right[ROWS];
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++) left[r] = right[r] = (vector){0};
#pragma clang loop unroll_count(2)
    for (size_t i = 0; i < depth; i++, b += WIDTH) {
        vector b0 = load(b), b1 = load(b + 8);
#pragma clang loop unroll(full)
        for (int r = 0; r < rows; r++) {
            float x = a[r * row_stride + i * step];
            vector wide = {x, x, x, x, x, x, x, x};
            left[r] += wide * b0;
            right[r] += wide * b1;
        }
    }
    if (columns == WIDTH) {
#pragma clang loop unroll(full)
        for (int r = 0; r < rows; r++) {
            float *to = c + r * stride_c;
            store(to, accumulate ? load(to) + left[r] : left[r]);
            store(to + 8, accumulate ? load(to + 8) + right[r] : right[r]);
        }
        return;
    }
    float row[WIDTH];
    for (int r = 0; r < rows; r++) {
        store(row, left[r]);
        store(row + 8, right[r]);
        float *to = c + r * stride_c;
        for (size_t j = 0; j < columns; j++) to[j] = accumulate ? to[j] + row[j] : row[j];
    }
}

/// One panel of columns of c for all rows of a block of a.
AVX2_INLINE void column_of_tiles(size_t rows, const float *a, size_t row_stride, size_t step, size_t tile_stride, const float *b,
                                 size_t depth, bool accumulate, float *c, size_t stride_c, size_t columns) {
    for (; rows >= ROWS; rows -= ROWS, a += tile_stride, c += ROWS * stride_c)
        tile(ROWS, a, row_stride, step, b, depth, accumulate, c, stride_c, columns);
    switch (rows) {
    case 5: return tile(5, a, row_stride, step, b, depth, accumulate, c, stride_c, columns);
    case 4: return tile(4, a, row_stride, step, b, depth, accumulate, c, stride_c, columns);
    case 3: return tile(3, a, row_stride, step, b, depth, accumulate, c, stride_c, columns);
    case 2: return tile(2, a, row_stride, step, b, depth, accumulate, c, stride_c, columns);
    case 1: return tile(1, a, row_stride, step, b, depth, accumulate, c, stride_c, columns);
    }
}

AVX2 static void block_of_rows(size_t rows, const float *a, size_t stride_a, const float *b, size_t depth, bool accumulate,
                               float *c, size_t stride_c, size_t columns) {
    column_of_tiles(rows, a, stride_a, 1, ROWS * stride_a, b, depth, accumulate, c, stride_c, columns);
}

/// The same for a transposed a, (depth, rows), read where it is.
AVX2 static void block_of_transposed_rows(size_t rows, const float *a, size_t stride_a, const float *b, size_t depth,
                                          bool accumulate, float *c, size_t stride_c, size_t columns) {
    column_of_tiles(rows, a, 1, stride_a, ROWS, b, depth, accumulate, c, stride_c, columns);
}

/// The same for a block that was copied by `copy_transposed_rows`.
AVX2 static void block_of_copied_rows(size_t rows, const float *a, const float *b, size_t depth, bool accumulate, float *c,
                                      size_t stride_c, size_t columns) {
    column_of_tiles(rows, a, 1, ROWS, ROWS * depth, b, depth, accumulate, c, stride_c, columns);
}

/// From a (depth, rows) to tiles' rows, each (depth, ROWS); the last is filled up with whatever.
AVX2 static void copy_transposed_rows(float *to, const float *a, size_t stride_a, size_t rows, size_t depth) {
    for (size_t first = 0; first < rows; first += ROWS, a += ROWS) {
        size_t width = least(ROWS, rows - first);
        if (width == ROWS)
            for (size_t i = 0; i < depth; i++, to += ROWS) memcpy(to, a + i * stride_a, ROWS * sizeof(float));
        else
            for (size_t i = 0; i < depth; i++, to += ROWS)
                for (size_t r = 0; r < ROWS; r++) to[r] = r < width ? a[i * stride_a + r] : 0;
    }
}

/// From b (depth, columns) to panels (depth, WIDTH), the last filled up with zeros.
AVX2 static void copy_columns(float *to, const float *b, size_t stride_b, size_t columns, size_t depth) {
    for (size_t first = 0; first < columns; first += WIDTH, b += WIDTH) {
        size_t width = least(WIDTH, columns - first);
        if (width == WIDTH)
            for (size_t i = 0; i < depth; i++, to += WIDTH) memcpy(to, b + i * stride_b, WIDTH * sizeof(float));
        else
            for (size_t i = 0; i < depth; i++, to += WIDTH)
                for (size_t j = 0; j < WIDTH; j++) to[j] = j < width ? b[i * stride_b + j] : 0;
    }
}

/// Eight rows of eight, transposed, to rows of WIDTH.
AVX2_INLINE void transpose_eight(float *to, const float *from, size_t stride) {
    vector r[8], s[8];
    for (int i = 0; i < 8; i++) r[i] = load(from + i * stride);
    for (int i = 0; i < 8; i += 2) {
        s[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        s[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = __builtin_shufflevector(s[i], s[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        r[i + 1] = __builtin_shufflevector(s[i], s[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        r[i + 2] = __builtin_shufflevector(s[i + 1], s[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
        r[i + 3] = __builtin_shufflevector(s[i + 1], s[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
    }
    for (int i = 0; i < 4; i++) {
        store(to + i * WIDTH, __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11));
        store(to + (i + 4) * WIDTH, __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15));
    }
}

/// From b (columns, depth) to panels (depth, WIDTH), the last filled up with zeros.
AVX2 static void copy_transposed_columns(float *to, const float *b, size_t stride_b, size_t columns, size_t depth) {
    for (size_t first = 0; first < columns; first += WIDTH, b += WIDTH * stride_b, to += WIDTH * depth) {
        size_t width = least(WIDTH, columns - first), i = 0;
        if (width == WIDTH)
            for (; i + 8 <= depth; i += 8) {
                transpose_eight(to + i * WIDTH, b + i, stride_b);
                transpose_eight(to + i * WIDTH + 8, b + 8 * stride_b + i, stride_b);
            }
        for (; i < depth; i++)
            for (size_t j = 0; j < WIDTH; j++) to[i * WIDTH + j] = j < width ? b[j * stride_b + i] : 0;
    }
}

void panel_product(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, size_t stride_a,
                   const float *b, size_t stride_b, bool accumulate, float *c, size_t stride_c, float *scratch) {
    bool copies_a = transpose_a && k * stride_a > IN_PLACE;
    for (size_t first_column = 0; first_column < n; first_column += BLOCK_COLUMNS) {
        size_t columns = least(BLOCK_COLUMNS, n - first_column);
        for (size_t start = 0; start < k; start += DEPTH) {
            size_t depth = least(DEPTH, k - start);
            bool adds = accumulate || start > 0;
            float *copied_a = scratch + depth * rounded_up(columns, WIDTH);
            if (transpose_b)
                copy_transposed_columns(scratch, b + first_column * stride_b + start, stride_b, columns, depth);
            else
                copy_columns(scratch, b + start * stride_b + first_column, stride_b, columns, depth);
            for (size_t row = 0; row < m; row += BLOCK_ROWS) {
                size_t rows = least(BLOCK_ROWS, m - row);
                if (copies_a) copy_transposed_rows(copied_a, a + start * stride_a + row, stride_a, rows, depth);
                for (size_t column = 0; column < columns; column += WIDTH) {
                    float *to = c + row * stride_c + first_column + column;
                    const float *panel = scratch + column * depth;
                    size_t width = least(WIDTH, columns - column);
                    if (copies_a)
                        block_of_copied_rows(rows, copied_a, panel, depth, adds, to, stride_c, width);
                    else if (transpose_a)
                        block_of_transposed_rows(rows, a + start * stride_a + row, stride_a, panel, depth, adds, to, stride_c, width);
                    else
                        block_of_rows(rows, a + row * stride_a + start, stride_a, panel, depth, adds, to, stride_c, width);
                }
            }
        }
    }
}

#else

bool panel_product_is_for_this_cpu(void) { return false; }
size_t panel_product_scratch(bool transpose_a, size_t m, size_t n, size_t k) { return 0; }
void panel_product(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, size_t stride_a,
                   const float *b, size_t stride_b, bool accumulate, float *c, size_t stride_c, float *scratch) {}

#endif
