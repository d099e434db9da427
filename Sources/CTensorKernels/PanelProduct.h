#pragma once
#include "Kernel.h"

// Matrix products of one thread on x86-64 CPUs with AVX2 and without AVX-512. oneDNN 2.6's and 3's float32 kernel for these copies both
// factors on every call and runs at 60 to 90 % of the speed of this one, on the sizes that models of a few million parameters have.

/// Whether this CPU is of the kind that this is for.
bool panel_product_is_for_this_cpu(void);

/// Floats of scratch memory, 64-byte aligned, for `panel_product`.
size_t panel_product_scratch(bool transpose_a, size_t m, size_t n, size_t k);

/// c = op(a) op(b), or c += op(a) op(b); m, n and k are at least 1. The order of every sum depends on the sizes only.
void panel_product(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, size_t stride_a,
                   const float *b, size_t stride_b, bool accumulate, float *c, size_t stride_c, float *scratch);
