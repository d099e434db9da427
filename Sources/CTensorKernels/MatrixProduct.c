// Matrix products by oneDNN. dnnl_sgemm keeps its signature in oneDNN 2 and 3; on CPUs of the AVX2 and AVX-512
// kinds it is the kernel that the matmul primitive runs for float32 as well, without the primitive's call overhead.
#define _GNU_SOURCE
#include "Kernel.h"
#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.h>
#include <string.h>

bool tensor_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, float alpha, const float *a,
                 size_t stride_a, const float *b, size_t stride_b, float beta, float *c, size_t stride_c) {
    if (m == 0 || n == 0) return true;
    if (k == 0) {
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++) c[i * stride_c + j] = beta == 0 ? 0 : beta * c[i * stride_c + j];
        return true;
    }
    return dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', (dnnl_dim_t)m, (dnnl_dim_t)n, (dnnl_dim_t)k,
                      alpha, a, (dnnl_dim_t)stride_a, b, (dnnl_dim_t)stride_b, beta, c,
                      (dnnl_dim_t)stride_c) == dnnl_success;
}

/// Whether a factor of a^T b is copied to rows of another length first. Rows that are a multiple of 512 bytes apart fall into
/// few sets of the cache when oneDNN reads down a column: on AVX2 machines products of up to 512 x 512 run at 60 to 75 %
/// of the speed that they reach with other strides, and copying costs less than that. Larger ones hide it.
static bool is_copied(size_t m, size_t n, size_t columns) { return columns % 128 == 0 && m * n <= 512 * 512; }

/// Extra elements a row of a copy: a cache line. Rows of a and b copied at a time: what stays in a second-level cache.
enum { PADDING = 16, COPIED_ROWS = 128 };

size_t tensor_gemm_transposed_scratch(size_t m, size_t n, size_t k) {
    size_t rows = k < COPIED_ROWS ? k : COPIED_ROWS;
    return (is_copied(m, n, m) ? rows * (m + PADDING) : 0) + (is_copied(m, n, n) ? rows * (n + PADDING) : 0);
}

static void copy_padded(float *to, const float *from, size_t rows, size_t columns) {
    for (size_t r = 0; r < rows; r++) memcpy(to + r * (columns + PADDING), from + r * columns, columns * sizeof(float));
}

bool tensor_gemm_transposed(size_t m, size_t n, size_t k, const float *a, const float *b, bool accumulate, float *c,
                            float *scratch) {
    bool copies_a = is_copied(m, n, m), copies_b = is_copied(m, n, n);
    if (k == 0 || (!copies_a && !copies_b))
        return tensor_gemm(true, false, m, n, k, 1, a, m, b, n, accumulate ? 1 : 0, c, n);
    for (size_t first = 0; first < k; first += COPIED_ROWS, a += COPIED_ROWS * m, b += COPIED_ROWS * n) {
        size_t rows = k - first < COPIED_ROWS ? k - first : COPIED_ROWS;
        float *scratch_b = scratch + (copies_a ? rows * (m + PADDING) : 0);
        if (copies_a) copy_padded(scratch, a, rows, m);
        if (copies_b) copy_padded(scratch_b, b, rows, n);
        if (!tensor_gemm(true, false, m, n, rows, 1, copies_a ? scratch : a, copies_a ? m + PADDING : m,
                         copies_b ? scratch_b : b, copies_b ? n + PADDING : n, first || accumulate ? 1 : 0, c, n))
            return false;
    }
    return true;
}

bool tensor_set_threads(int threads) {
    // The OpenMP runtime is oneDNN's own dependency, whichever that is: looked up, not linked.
    void (*set)(int) = (void (*)(int))dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    void (*set_dynamic)(int) = (void (*)(int))dlsym(RTLD_DEFAULT, "omp_set_dynamic");
    if (!set) return false;
    if (set_dynamic) set_dynamic(0);
    set(threads);
    return true;
}

int tensor_onednn_version(void) {
    const dnnl_version_t *version = dnnl_version();
    return version->major * 10000 + version->minor * 100 + version->patch;
}
