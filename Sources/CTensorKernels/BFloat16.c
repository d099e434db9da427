// Matrix products whose factors are bfloat16, by oneDNN's matmul primitive, and rounding to that type. What differs between oneDNN's
// versions 2 and 3 stands in `describe`.
#include "Kernel.h"
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

bool tensor_has_bfloat16(void) { return lockstep_uses_bfloat16(); }

/// The upper half of a float, to nearest and ties to even; NaN stays NaN.
INLINE uint32_t rounded(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint32_t nan = (bits >> 16) | 0x40, nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (bits & 0x7fffffff) > 0x7f800000 ? nan : nearest;
}

CLONED(void, tensor_round_bfloat16, (uint16_t *y, const float *x, size_t n), (y, x, n)) {
    ELEMENTWISE
    for (size_t i = 0; i < n; i++) y[i] = (uint16_t)rounded(x[i]);
}

CLONED(void, tensor_round_through_bfloat16, (float *y, const float *x, size_t n), (y, x, n)) {
    ELEMENTWISE
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = rounded(x[i]) << 16;
        memcpy(y + i, &bits, 4);
    }
}

enum { ARGUMENTS = 4 };

struct tensor_product {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_desc_t description;
    dnnl_primitive_t primitive;
    /// a, b, c and scratch memory.
    dnnl_exec_arg_t arguments[ARGUMENTS];
    size_t scratch;
};

static bool ok(dnnl_status_t status) { return status == dnnl_success; }

/// Makes the description of the primitive.
static bool describe(struct tensor_product *plan, const struct tensor_product_shape *s, dnnl_data_type_t type,
                     dnnl_primitive_attr_t attributes) {
    dnnl_dim_t m = (dnnl_dim_t)s->m, n = (dnnl_dim_t)s->n, k = (dnnl_dim_t)s->k;
    dnnl_dims_t a_sizes = {m, k}, b_sizes = {k, n}, c_sizes = {m, n}, c_strides = {n, 1};
    dnnl_dims_t a_strides = {s->transpose_a ? 1 : k, s->transpose_a ? m : 1};
    dnnl_dims_t b_strides = {s->transpose_b ? 1 : n, s->transpose_b ? k : 1};
#if DNNL_VERSION_MAJOR >= 3
    dnnl_memory_desc_t a = NULL, b = NULL, c = NULL;
    bool done = ok(dnnl_memory_desc_create_with_strides(&a, 2, a_sizes, type, a_strides)) &&
                ok(dnnl_memory_desc_create_with_strides(&b, 2, b_sizes, type, b_strides)) &&
                ok(dnnl_memory_desc_create_with_strides(&c, 2, c_sizes, dnnl_f32, c_strides)) &&
                ok(dnnl_matmul_primitive_desc_create(&plan->description, plan->engine, a, b, NULL, c, attributes));
    if (a) dnnl_memory_desc_destroy(a);
    if (b) dnnl_memory_desc_destroy(b);
    if (c) dnnl_memory_desc_destroy(c);
    return done;
#else
    dnnl_memory_desc_t a, b, c;
    dnnl_matmul_desc_t asked;
    return ok(dnnl_memory_desc_init_by_strides(&a, 2, a_sizes, type, a_strides)) &&
           ok(dnnl_memory_desc_init_by_strides(&b, 2, b_sizes, type, b_strides)) &&
           ok(dnnl_memory_desc_init_by_strides(&c, 2, c_sizes, dnnl_f32, c_strides)) &&
           ok(dnnl_matmul_desc_init(&asked, &a, &b, NULL, &c)) &&
           ok(dnnl_primitive_desc_create(&plan->description, &asked, attributes, plan->engine, NULL));
#endif
}

/// Whether the result is added to c, and that scratch memory is ours to give.
static bool set_attributes(dnnl_primitive_attr_t attributes, dnnl_post_ops_t after, bool accumulate) {
#if DNNL_VERSION_MAJOR >= 3
    bool added = !accumulate || ok(dnnl_post_ops_append_sum(after, 1, 0, dnnl_data_type_undef));
#else
    bool added = !accumulate || ok(dnnl_post_ops_append_sum(after, 1));
#endif
    return added && ok(dnnl_primitive_attr_set_post_ops(attributes, after)) &&
           ok(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user));
}

/// The primitive of a description that is there, with places for its memory.
static bool finish(struct tensor_product *plan) {
    static const int names[ARGUMENTS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    if (!ok(dnnl_primitive_create(&plan->primitive, plan->description))) return false;
    for (int i = 0; i < ARGUMENTS; i++) {
        plan->arguments[i].arg = names[i];
        if (!ok(dnnl_memory_create(&plan->arguments[i].memory,
                                   dnnl_primitive_desc_query_md(plan->description, dnnl_query_exec_arg_md, names[i]), plan->engine,
                                   DNNL_MEMORY_NONE)))
            return false;
    }
    size_t bytes =
        dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(plan->description, dnnl_query_exec_arg_md, DNNL_ARG_SCRATCHPAD));
    plan->scratch = (bytes + sizeof(float) - 1) / sizeof(float);
    return true;
}

struct tensor_product *tensor_product_create(const struct tensor_product_shape *shape) {
    struct tensor_product *plan = calloc(1, sizeof *plan);
    if (!plan) return NULL;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_post_ops_t after = NULL;
    bool done = ok(dnnl_engine_create(&plan->engine, dnnl_cpu, 0)) &&
                ok(dnnl_stream_create(&plan->stream, plan->engine, dnnl_stream_default_flags)) &&
                ok(dnnl_primitive_attr_create(&attributes)) && ok(dnnl_post_ops_create(&after)) &&
                set_attributes(attributes, after, shape->accumulate) &&
                describe(plan, shape, shape->is_bfloat16 ? dnnl_bf16 : dnnl_f32, attributes) && finish(plan);
    if (after) dnnl_post_ops_destroy(after);
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    if (done) return plan;
    tensor_product_free(plan);
    return NULL;
}

void tensor_product_free(struct tensor_product *plan) {
    for (int i = 0; i < ARGUMENTS; i++)
        if (plan->arguments[i].memory) dnnl_memory_destroy(plan->arguments[i].memory);
    if (plan->primitive) dnnl_primitive_destroy(plan->primitive);
    if (plan->description) dnnl_primitive_desc_destroy(plan->description);
    if (plan->stream) dnnl_stream_destroy(plan->stream);
    if (plan->engine) dnnl_engine_destroy(plan->engine);
    free(plan);
}

size_t tensor_product_scratch(const struct tensor_product *plan) { return plan->scratch; }

bool tensor_product_run(const struct tensor_product *plan, float *c, const void *a, const void *b, float *scratch) {
    void *memory[ARGUMENTS] = {(void *)a, (void *)b, c, scratch};
    for (int i = 0; i < ARGUMENTS; i++)
        if (!ok(dnnl_memory_set_data_handle(plan->arguments[i].memory, memory[i]))) return false;
    return ok(dnnl_primitive_execute(plan->primitive, plan->stream, ARGUMENTS, plan->arguments)) && ok(dnnl_stream_wait(plan->stream));
}
