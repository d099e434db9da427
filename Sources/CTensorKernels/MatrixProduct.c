// The only file that calls oneDNN. dnnl_sgemm keeps its signature in oneDNN 2 and 3; on CPUs of the AVX2 and AVX-512
// kinds it is the kernel that the matmul primitive runs for float32 as well, without the primitive's call overhead.
#define _GNU_SOURCE
#include "Kernel.h"
#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.h>

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
