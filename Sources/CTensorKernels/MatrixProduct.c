// Matrix products: by oneDNN, or by PanelProduct.c where that was measured to be faster. dnnl_sgemm keeps its signature in oneDNN 2 and
// 3; on CPUs of the AVX2 and AVX-512 kinds it is the kernel that the matmul primitive runs for float32 as well, without the
// primitive's call overhead.
#define _GNU_SOURCE
#include "PanelProduct.h"
#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdatomic.h>

/// Threads that products may use; written before the first of them.
static atomic_int allowed_threads = 1;

/// Products of up to this many multiplications are PanelProduct.c's, on CPUs that it is for. oneDNN copies both factors on every call,
/// which costs small products 5 to 30 % there, and large ones nothing.
static const size_t SMALL = (size_t)1 << 28;

static bool has_panels(void) {
    return panel_product_is_for_this_cpu() && atomic_load_explicit(&allowed_threads, memory_order_relaxed) == 1;
}

size_t tensor_gemm_scratch(bool transpose_a, size_t m, size_t n, size_t k) {
    return has_panels() ? panel_product_scratch(transpose_a, m, n, k) : 0;
}

bool tensor_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, size_t stride_a,
                 const float *b, size_t stride_b, bool accumulate, float *c, size_t stride_c, float *scratch) {
    if (m == 0 || n == 0) return true;
    if (k == 0) {
        for (size_t i = 0; i < m && !accumulate; i++)
            for (size_t j = 0; j < n; j++) c[i * stride_c + j] = 0;
        return true;
    }
    if (m * n * k <= SMALL && has_panels()) {
        panel_product(transpose_a, transpose_b, m, n, k, a, stride_a, b, stride_b, accumulate, c, stride_c, scratch);
        return true;
    }
    return dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', (dnnl_dim_t)m, (dnnl_dim_t)n, (dnnl_dim_t)k, 1, a,
                      (dnnl_dim_t)stride_a, b, (dnnl_dim_t)stride_b, accumulate ? 1 : 0, c, (dnnl_dim_t)stride_c) == dnnl_success;
}

bool tensor_set_threads(int threads) {
    atomic_store_explicit(&allowed_threads, threads, memory_order_relaxed);
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
