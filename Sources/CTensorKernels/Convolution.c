// Two-dimensional convolution by oneDNN, which has a different interface for primitives in versions 2 and 3: what differs
// stands in the first part of this file.
#include "Kernel.h"
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t layout;
#define LAYOUT(description) (description)
#define FREE_LAYOUT(description) dnnl_memory_desc_destroy(description)
#define DESCRIBE dnnl_memory_desc_create_with_tag
#else
typedef const dnnl_memory_desc_t *layout;
#define LAYOUT(description) (&(description))
#define FREE_LAYOUT(description) (void)(description)
#define DESCRIBE dnnl_memory_desc_init_by_tag
#endif

enum { MAXIMUM_ARGUMENTS = 5 };

/// A primitive with places for the memory it works on.
struct operation {
    dnnl_primitive_desc_t description;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t arguments[MAXIMUM_ARGUMENTS];
    int count;
};

struct tensor_convolution {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct operation forward, backward_data, backward_weights;
    /// From (outputs, inputs, height, width) to what `forward` and `backward_data` want, and back from what `backward_weights`
    /// gives. Without a primitive where the layouts are the same.
    struct operation to_forward, to_backward, from_backward;
    bool has_bias;
    size_t scratch;
};

/// The layouts that one convolution's primitives are asked for.
struct layouts {
    dnnl_memory_desc_t x, weight, plain_weight, bias, y;
};

static bool ok(dnnl_status_t status) { return status == dnnl_success; }

static layout layout_of(const struct operation *operation, int argument) {
    return dnnl_primitive_desc_query_md(operation->description, dnnl_query_exec_arg_md, argument);
}

/// Makes the three primitive descriptions of a convolution, the latter two only when asked for.
static bool describe_operations(struct tensor_convolution *plan, struct layouts *l, dnnl_dim_t stride, dnnl_dim_t padding,
                                bool backward, const_dnnl_primitive_attr_t attributes) {
    dnnl_dims_t strides = {stride, stride}, paddings = {padding, padding};
    layout bias = plan->has_bias ? LAYOUT(l->bias) : NULL;
#if DNNL_VERSION_MAJOR >= 3
    dnnl_dims_t dilations = {0, 0};
    if (!ok(dnnl_convolution_forward_primitive_desc_create(&plan->forward.description, plan->engine, dnnl_forward_training,
                                                           dnnl_convolution_direct, l->x, l->weight, bias, l->y, strides,
                                                           dilations, paddings, paddings, attributes)))
        return false;
    if (!backward) return true;
    return ok(dnnl_convolution_backward_data_primitive_desc_create(
               &plan->backward_data.description, plan->engine, dnnl_convolution_direct, l->x, l->weight, l->y, strides,
               dilations, paddings, paddings, plan->forward.description, attributes)) &&
           ok(dnnl_convolution_backward_weights_primitive_desc_create(
               &plan->backward_weights.description, plan->engine, dnnl_convolution_direct, l->x, l->weight, bias, l->y, strides,
               dilations, paddings, paddings, plan->forward.description, attributes));
#else
    dnnl_convolution_desc_t asked;
    if (!ok(dnnl_convolution_forward_desc_init(&asked, dnnl_forward_training, dnnl_convolution_direct, &l->x, &l->weight, bias,
                                               &l->y, strides, paddings, paddings)) ||
        !ok(dnnl_primitive_desc_create(&plan->forward.description, &asked, attributes, plan->engine, NULL)))
        return false;
    if (!backward) return true;
    return ok(dnnl_convolution_backward_data_desc_init(&asked, dnnl_convolution_direct, &l->x, &l->weight, &l->y, strides,
                                                       paddings, paddings)) &&
           ok(dnnl_primitive_desc_create(&plan->backward_data.description, &asked, attributes, plan->engine,
                                         plan->forward.description)) &&
           ok(dnnl_convolution_backward_weights_desc_init(&asked, dnnl_convolution_direct, &l->x, &l->weight, bias, &l->y,
                                                          strides, paddings, paddings)) &&
           ok(dnnl_primitive_desc_create(&plan->backward_weights.description, &asked, attributes, plan->engine,
                                         plan->forward.description));
#endif
}

// MARK: The same in both versions

static bool add_argument(struct tensor_convolution *plan, struct operation *operation, int argument, layout memory_layout) {
    dnnl_exec_arg_t *place = &operation->arguments[operation->count];
    place->arg = argument;
    if (!ok(dnnl_memory_create(&place->memory, memory_layout, plan->engine, DNNL_MEMORY_NONE))) return false;
    operation->count++;
    return true;
}

/// Makes the primitive of a description that is there, with these arguments in this order; 0 stands for none.
static bool finish(struct tensor_convolution *plan, struct operation *operation, const int arguments[MAXIMUM_ARGUMENTS]) {
    if (!ok(dnnl_primitive_create(&operation->primitive, operation->description))) return false;
    for (int i = 0; i < MAXIMUM_ARGUMENTS; i++)
        if (arguments[i] && !add_argument(plan, operation, arguments[i], layout_of(operation, arguments[i]))) return false;
    return true;
}

/// Makes a copy from one layout to another; nothing when they are equal.
static bool finish_copy(struct tensor_convolution *plan, struct operation *operation, layout from, layout to,
                        const_dnnl_primitive_attr_t attributes) {
    if (dnnl_memory_desc_equal(from, to)) return true;
    return ok(dnnl_reorder_primitive_desc_create(&operation->description, from, plan->engine, to, plan->engine, attributes)) &&
           ok(dnnl_primitive_create(&operation->primitive, operation->description)) &&
           add_argument(plan, operation, DNNL_ARG_FROM, from) && add_argument(plan, operation, DNNL_ARG_TO, to) &&
           add_argument(plan, operation, DNNL_ARG_SCRATCHPAD, layout_of(operation, DNNL_ARG_SCRATCHPAD));
}

/// Floats that memory of a layout takes, up to a whole cache line.
static size_t floats(layout memory_layout) {
    return (dnnl_memory_desc_get_size(memory_layout) + 63) / 64 * (64 / sizeof(float));
}

/// Floats of scratch memory that an operation takes, besides those of the weights in its layout.
static size_t scratchpad(const struct operation *operation) {
    return operation->primitive ? floats(layout_of(operation, DNNL_ARG_SCRATCHPAD)) : 0;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static bool create(struct tensor_convolution *plan, const struct tensor_convolution_shape *s, bool backward,
                   struct layouts *l, const_dnnl_primitive_attr_t attributes) {
    if (!describe_operations(plan, l, (dnnl_dim_t)s->stride, (dnnl_dim_t)s->padding, backward, attributes)) return false;
    const int bias = s->has_bias ? DNNL_ARG_BIAS : 0, bias_gradient = s->has_bias ? DNNL_ARG_DIFF_BIAS : 0;
    const int forward[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD, bias};
    if (!finish(plan, &plan->forward, forward) ||
        !finish_copy(plan, &plan->to_forward, LAYOUT(l->plain_weight), layout_of(&plan->forward, DNNL_ARG_WEIGHTS), attributes))
        return false;
    plan->scratch = floats(layout_of(&plan->forward, DNNL_ARG_WEIGHTS)) + larger(scratchpad(&plan->forward), scratchpad(&plan->to_forward));
    if (!backward) return true;

    const int data[] = {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC, DNNL_ARG_SCRATCHPAD, 0};
    const int weights[] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST, DNNL_ARG_SCRATCHPAD, bias_gradient};
    if (!finish(plan, &plan->backward_data, data) || !finish(plan, &plan->backward_weights, weights) ||
        !finish_copy(plan, &plan->to_backward, LAYOUT(l->plain_weight), layout_of(&plan->backward_data, DNNL_ARG_WEIGHTS),
                     attributes) ||
        !finish_copy(plan, &plan->from_backward, layout_of(&plan->backward_weights, DNNL_ARG_DIFF_WEIGHTS),
                     LAYOUT(l->plain_weight), attributes))
        return false;
    size_t for_data = floats(layout_of(&plan->backward_data, DNNL_ARG_WEIGHTS)) +
                      larger(scratchpad(&plan->backward_data), scratchpad(&plan->to_backward));
    size_t for_weights = floats(layout_of(&plan->backward_weights, DNNL_ARG_DIFF_WEIGHTS)) +
                         larger(scratchpad(&plan->backward_weights), scratchpad(&plan->from_backward));
    plan->scratch = larger(plan->scratch, larger(for_data, for_weights));
    return true;
}

size_t tensor_convolution_output(size_t size, size_t kernel, size_t stride, size_t padding) {
    size_t padded = size + 2 * padding;
    return padded < kernel ? 0 : (padded - kernel) / stride + 1;
}

struct tensor_convolution *tensor_convolution_create(const struct tensor_convolution_shape *s, bool backward) {
    struct tensor_convolution *plan = calloc(1, sizeof *plan);
    if (!plan) return NULL;
    plan->has_bias = s->has_bias;
    dnnl_dim_t height = (dnnl_dim_t)tensor_convolution_output(s->height, s->kernel, s->stride, s->padding);
    dnnl_dim_t width = (dnnl_dim_t)tensor_convolution_output(s->width, s->kernel, s->stride, s->padding);
    dnnl_dims_t x = {(dnnl_dim_t)s->samples, (dnnl_dim_t)s->inputs, (dnnl_dim_t)s->height, (dnnl_dim_t)s->width};
    dnnl_dims_t weight = {(dnnl_dim_t)s->outputs, (dnnl_dim_t)s->inputs, (dnnl_dim_t)s->kernel, (dnnl_dim_t)s->kernel};
    dnnl_dims_t bias = {(dnnl_dim_t)s->outputs}, y = {(dnnl_dim_t)s->samples, (dnnl_dim_t)s->outputs, height, width};
    struct layouts l = {0};
    dnnl_primitive_attr_t attributes = NULL;
    // Scratch memory is ours to give, so that a step allocates nothing; only the weights' layout is oneDNN's to choose.
    bool done = ok(dnnl_engine_create(&plan->engine, dnnl_cpu, 0)) &&
                ok(dnnl_stream_create(&plan->stream, plan->engine, dnnl_stream_default_flags)) &&
                ok(dnnl_primitive_attr_create(&attributes)) &&
                ok(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user)) &&
                ok(DESCRIBE(&l.x, 4, x, dnnl_f32, dnnl_nhwc)) && ok(DESCRIBE(&l.y, 4, y, dnnl_f32, dnnl_nhwc)) &&
                ok(DESCRIBE(&l.weight, 4, weight, dnnl_f32, dnnl_format_tag_any)) &&
                ok(DESCRIBE(&l.plain_weight, 4, weight, dnnl_f32, dnnl_oihw)) &&
                ok(DESCRIBE(&l.bias, 1, bias, dnnl_f32, dnnl_x)) && create(plan, s, backward, &l, attributes);
    FREE_LAYOUT(l.x);
    FREE_LAYOUT(l.y);
    FREE_LAYOUT(l.weight);
    FREE_LAYOUT(l.plain_weight);
    FREE_LAYOUT(l.bias);
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    if (done) return plan;
    tensor_convolution_free(plan);
    return NULL;
}

static void free_operation(struct operation *operation) {
    for (int i = 0; i < operation->count; i++) dnnl_memory_destroy(operation->arguments[i].memory);
    if (operation->primitive) dnnl_primitive_destroy(operation->primitive);
    if (operation->description) dnnl_primitive_desc_destroy(operation->description);
}

void tensor_convolution_free(struct tensor_convolution *plan) {
    free_operation(&plan->forward);
    free_operation(&plan->backward_data);
    free_operation(&plan->backward_weights);
    free_operation(&plan->to_forward);
    free_operation(&plan->to_backward);
    free_operation(&plan->from_backward);
    if (plan->stream) dnnl_stream_destroy(plan->stream);
    if (plan->engine) dnnl_engine_destroy(plan->engine);
    free(plan);
}

size_t tensor_convolution_scratch(const struct tensor_convolution *plan) { return plan->scratch; }

/// Runs an operation on this memory, in the order in which its arguments were made.
static bool run(const struct tensor_convolution *plan, const struct operation *operation, float *const memory[]) {
    for (int i = 0; i < operation->count; i++)
        if (!ok(dnnl_memory_set_data_handle(operation->arguments[i].memory, memory[i]))) return false;
    return ok(dnnl_primitive_execute(operation->primitive, plan->stream, operation->count, operation->arguments)) &&
           ok(dnnl_stream_wait(plan->stream));
}

/// The weights in the layout that an operation wants: copied to the start of the scratch memory, or as they are.
static bool laid_out(const struct tensor_convolution *plan, const struct operation *copy, const float **weight, float *scratch,
                     float *scratchpad) {
    if (!copy->primitive) return true;
    float *memory[] = {(float *)*weight, scratch, scratchpad};
    *weight = scratch;
    return run(plan, copy, memory);
}

bool tensor_convolution_forward(const struct tensor_convolution *plan, float *y, const float *x, const float *weight,
                                const float *bias, float *scratch) {
    float *pad = scratch + floats(layout_of(&plan->forward, DNNL_ARG_WEIGHTS));
    if (!laid_out(plan, &plan->to_forward, &weight, scratch, pad)) return false;
    float *memory[] = {(float *)x, (float *)weight, y, pad, (float *)bias};
    return run(plan, &plan->forward, memory);
}

bool tensor_convolution_backward_data(const struct tensor_convolution *plan, float *dx, const float *dy, const float *weight,
                                      float *scratch) {
    float *pad = scratch + floats(layout_of(&plan->backward_data, DNNL_ARG_WEIGHTS));
    if (!laid_out(plan, &plan->to_backward, &weight, scratch, pad)) return false;
    float *memory[] = {(float *)dy, (float *)weight, dx, pad};
    return run(plan, &plan->backward_data, memory);
}

bool tensor_convolution_backward_weights(const struct tensor_convolution *plan, float *dweight, float *dbias, const float *dy,
                                         const float *x, float *scratch) {
    float *pad = scratch + floats(layout_of(&plan->backward_weights, DNNL_ARG_DIFF_WEIGHTS));
    bool copies = plan->from_backward.primitive;
    float *memory[] = {(float *)x, copies ? scratch : dweight, (float *)dy, pad, dbias};
    if (!run(plan, &plan->backward_weights, memory)) return false;
    float *copied[] = {scratch, dweight, pad};
    return !copies || run(plan, &plan->from_backward, copied);
}
