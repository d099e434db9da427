#pragma once

// Kernels of the tensor library: plain loops over contiguous float32 memory, one pass each.
//
// Legend: B samples, T positions, C channels, H heads, D = C / H, V vocabulary; "rows" is the product of all
// dimensions but the last. All matrices are row-major. Pointers need no alignment for correctness; the allocators
// above give 64 bytes. Nothing here allocates, keeps state or reads the clock. Every sum is taken in an order that depends on the
// shape only: not on the instruction set, and not on the number of threads (Pool.c) that products, convolutions and attention use.
//
// `accumulate` arguments: false overwrites the destination, true adds to it.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// MARK: Matrix product (MatrixProduct.c)

/// c = op(a) op(b), or c += op(a) op(b), where op(a) is m x k, op(b) is k x n and c is m x n, all row-major with the given row strides
/// in elements. Where `bfloat16` is true both factors are rounded to bfloat16, to nearest and ties to even. `scratch`, 64-byte aligned,
/// holds `scratch_count` floats, at least as many as `tensor_gemm_scratch` said.
///
/// Arithmetic: an element of c is a chain over i ascending, sum = fma(a(i), b(i), sum) from zero, cut after 256 elements of k; the sums
/// are added to c in order. With `bfloat16` the chain goes over pairs of elements, first the odd one, then the even one; the last of an
/// odd number is paired with zero, and numbers too small to be normal are zero.
void tensor_gemm(bool bfloat16, bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, size_t stride_a,
                 const float *b, size_t stride_b, bool accumulate, float *c, size_t stride_c, float *scratch, size_t scratch_count);
size_t tensor_gemm_scratch(bool bfloat16, bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k);

/// For tests, on CPUs whose own instruction for bfloat16 is slower than others: whether products use it. False, and nothing done, where
/// the CPU or the kernels in use lack it. The bits are the same.
bool tensor_use_pairs(bool use);

/// Sets how many threads work at one operation of any thread of this process, at most 256. The bits do not depend on it. Returns 0, or
/// the error (errno's) that kept a thread from being started.
int tensor_set_threads(int threads);

// MARK: Elementwise (Elementwise.c)

/// y = a + b
void tensor_add(float *y, const float *a, const float *b, size_t n);
/// y = a - b
void tensor_subtract(float *y, const float *a, const float *b, size_t n);
/// y = a * b, or y += a * b
void tensor_multiply(float *y, const float *a, const float *b, size_t n, bool accumulate);
/// y = s * a, or y += s * a
void tensor_scale(float *y, const float *a, float s, size_t n, bool accumulate);
/// y = s, or y += s
void tensor_fill(float *y, float s, size_t n, bool accumulate);
/// y[r, c] = x[r, c] + row[c]
void tensor_add_row(float *y, const float *x, const float *row, size_t rows, size_t columns);
/// out[c] = sum over r of x[r, c], r ascending in float32 within blocks of 64 rows, blocks ascending.
void tensor_sum_rows(float *out, const float *x, size_t rows, size_t columns, bool accumulate);
/// The sum of n floats, taken in double in sixteen interleaved lanes.
double tensor_sum(const float *x, size_t n);
/// The sum of a[i] * b[i], in double in sixteen interleaved lanes.
double tensor_dot(const float *a, const float *b, size_t n);

// MARK: Activations (Activations.c)

enum tensor_function {
    TENSOR_EXP = 0,
    TENSOR_LOG = 1,
    TENSOR_TANH = 2,
    TENSOR_SIGMOID = 3,
    TENSOR_RELU = 4,
    TENSOR_GELU_EXACT = 5,
    TENSOR_GELU_TANH = 6,
};

/// y = f(x + row), where row (one value a column) may be null. y may be x. When `slope` is not null it receives
/// f'(x + row), so that the backward pass is one product; it may be x too, but not y.
void tensor_activate(enum tensor_function function, float *y, float *slope, const float *x, const float *row,
                     size_t rows, size_t columns);
/// dx = y > 0 ? dy : 0, or dx += ...; dx may be dy.
void tensor_relu_backward(float *dx, const float *dy, const float *y, size_t n, bool accumulate);

// MARK: Layer normalisation (Normalization.c)

/// y = (x - mean) * inverse * gain + bias a row; bias may be null. Keeps mean and inverse standard deviation a row.
void tensor_layer_norm(float *y, float *mean, float *inverse, const float *x, const float *gain, const float *bias,
                       size_t rows, size_t columns, float epsilon);
/// Gradients of `tensor_layer_norm`. `dgain`, `dbias` (may be null) are summed over rows in ascending order;
/// `dx` may be null when the input needs none.
void tensor_layer_norm_backward(float *dx, bool accumulate_dx, float *dgain, bool accumulate_dgain, float *dbias,
                                bool accumulate_dbias, const float *dy, const float *x, const float *mean,
                                const float *inverse, const float *gain, size_t rows, size_t columns);

/// y = x / max(|x|, least) a row, |x| being the Euclidean norm. Keeps what each row was multiplied by.
void tensor_unit_rows(float *y, float *inverse, const float *x, size_t rows, size_t columns, float least);
void tensor_unit_rows_backward(float *dx, bool accumulate, const float *dy, const float *y, const float *inverse,
                               size_t rows, size_t columns, float least);

// MARK: Batch normalisation (BatchNormalization.c)

/// Mean and biased variance of every column. `scratch` holds `columns` floats.
void tensor_batch_statistics(float *mean, float *variance, const float *x, size_t rows, size_t columns, float *scratch);
/// y = (x - mean) / sqrt(variance + epsilon) * gain + bias, column by column, then max(y, 0) if asked to. `inverse` receives
/// 1 / sqrt(variance + epsilon).
void tensor_batch_norm(float *y, float *inverse, const float *x, const float *mean, const float *variance,
                       const float *gain, const float *bias, size_t rows, size_t columns, float epsilon, bool relu);
/// Gradients of `tensor_batch_norm` without the max, mean and variance being those of x. `dgain` and `dbias` are overwritten;
/// `dx` may be null. `scratch` holds `columns` floats.
void tensor_batch_norm_backward(float *dx, bool accumulate, float *dgain, float *dbias, const float *dy, const float *x,
                                const float *mean, const float *inverse, const float *gain, size_t rows,
                                size_t columns, float *scratch);
/// average += momentum * (scale * sum - average)
void tensor_move_average(float *average, const float *sum, float scale, float momentum, size_t n);

// MARK: Convolution (Convolution.c)

/// Images x (samples, height, width, inputs), weights (outputs, inputs, kernel, kernel), result (samples, H', W', outputs) with
/// H' and W' as `tensor_convolution_output` says. All sizes are at least 1, `padding` at least 0, and so are H' and W'.
struct tensor_convolution_shape {
    size_t samples, height, width, inputs, outputs, kernel, stride, padding;
};

/// Windows along one dimension: (size + 2 padding - kernel) / stride + 1, rounded down; 0 where not one fits.
size_t tensor_convolution_output(size_t size, size_t kernel, size_t stride, size_t padding);

/// Floats of scratch memory, 64-byte aligned, that any of the calls below needs.
size_t tensor_convolution_scratch(const struct tensor_convolution_shape *shape);

/// y = the convolution of x, plus bias where it is not null, then max(y, 0) if asked to.
///
/// Arithmetic: as in `tensor_gemm`; the chain of an element goes over (row of the kernel, column of the kernel, input), zeros where the
/// kernel is outside of the image, and the bias is added to the sum.
void tensor_convolution_forward(const struct tensor_convolution_shape *shape, float *y, const float *x, const float *weight,
                                const float *bias, bool relu, float *scratch, size_t scratch_count);
/// dx is overwritten. The chain goes over those (row of y, column of y, output) that the element of x had a part in, ascending, zeros where
/// they are outside of the result.
void tensor_convolution_backward_data(const struct tensor_convolution_shape *shape, float *dx, const float *dy, const float *weight,
                                      float *scratch, size_t scratch_count);
/// dweight is overwritten. The chain goes over (sample, row of y, column of y).
void tensor_convolution_backward_weights(const struct tensor_convolution_shape *shape, float *dweight, const float *dy, const float *x,
                                         float *scratch, size_t scratch_count);

// MARK: Pooling (Pooling.c)

/// Windows over images (samples, height, width, channels), without padding; those that do not fit whole are left out.
struct tensor_pooling {
    size_t samples, height, width, channels, kernel_height, kernel_width, stride;
};

/// The largest of each window, the first of equals; `places` receives its number in the window, of which there are at most 256.
void tensor_max_pool(float *y, uint8_t *places, const float *x, const struct tensor_pooling *pooling);
void tensor_max_pool_backward(float *dx, bool accumulate, const float *dy, const uint8_t *places,
                              const struct tensor_pooling *pooling);
/// The mean of each window.
void tensor_average_pool(float *y, const float *x, const struct tensor_pooling *pooling);
void tensor_average_pool_backward(float *dx, bool accumulate, const float *dy, const struct tensor_pooling *pooling);
/// Each of the matrices (rows, columns) transposed: y or y += .
void tensor_transpose(float *y, bool accumulate, const float *x, size_t matrices, size_t rows, size_t columns);

// MARK: Losses (Losses.c)

/// Softmax cross-entropy of logits (rows, classes) against labels; a label of -1 is not counted. Returns the sum of
/// the losses, taken in double in row order. `counted` receives the number of labels that count, `gradient` (may be
/// null, and may be `logits`) softmax - onehot. `bad_row` receives the first row whose label is outside -1 ..< classes, or -1.
double tensor_cross_entropy(float *gradient, size_t *counted, ptrdiff_t *bad_row, const float *logits,
                            const int32_t *labels, size_t rows, size_t classes);
/// The sum of (a - b)^2, in double in sixteen interleaved lanes.
double tensor_squared_error(const float *a, const float *b, size_t n);

// MARK: Embedding (Embedding.c)

/// y[i, :] = table[indices[i], :] + positions[i mod period, :]; positions may be null. Returns the first i whose index is
/// outside 0 ..< vocabulary, or -1; nothing is read out of bounds.
ptrdiff_t tensor_embed(float *y, const float *table, const float *positions, const int32_t *indices, size_t count,
                       size_t period, size_t vocabulary, size_t columns);
/// dtable[indices[i], :] += dy[i, :], i ascending. The table must have been zeroed or hold what is to be added to.
void tensor_embed_backward(float *dtable, const float *dy, const int32_t *indices, size_t count, size_t columns);
/// dpositions[t, :] = sum over samples b, ascending, of dy[b * period + t, :].
void tensor_embed_positions_backward(float *dpositions, bool accumulate, const float *dy, size_t count, size_t period,
                                     size_t columns);

// MARK: Random numbers (Random.c)

/// Where a stream of random numbers starts: Philox4x32-10 with this key; the counter is (block, a, b, c) and each
/// block gives four 32-bit words, in element order.
struct tensor_random_key {
    uint64_t key;
    uint32_t a, b, c;
};

/// Philox4x32-10 for one counter (block, a, b, c).
void tensor_random_block(uint32_t out[4], struct tensor_random_key key, uint32_t block);
/// y[i] = word(first + i) >= threshold ? scale * x[i] : 0, or y[i] += ...; y may be x when overwriting.
void tensor_dropout(float *y, const float *x, size_t n, struct tensor_random_key key, uint64_t first,
                    uint32_t threshold, float scale, bool accumulate);
/// y[i] uniform in [low, high), 24 bits of resolution.
void tensor_random_uniform(float *y, size_t n, struct tensor_random_key key, float low, float high);
/// y[i] normal with mean 0 (Box-Muller, two words a pair). The bits depend on neither the CPU nor the C library.
void tensor_random_normal(float *y, size_t n, struct tensor_random_key key, float deviation);

// MARK: Functions of one number (Series.c)

// From basic operations only: the bits depend on neither the CPU nor the C library.

/// cos(2 pi x) and sin(2 pi x), error below 1e-15, for |x| below 2^50.
double tensor_cosine_of_turns(double x);
double tensor_sine_of_turns(double x);
/// e^x, within 2 units in the last place; 0 below -708, infinity above 709.78.
double tensor_exponential(double x);

// MARK: Causal attention (Attention.c)

/// What one causal self-attention works on. qkv is (B, T, 3C): queries, keys and values side by side, each of H heads of D
/// columns; out is (B, T, C); log_sum is (B, H, T), kept for the backward pass.
struct tensor_attention {
    size_t samples, positions, heads, head_columns;
    float scale;
    /// Dropout of the probabilities: 0 keeps all. An element's random word is that of its index in (B, H, T, T).
    uint32_t dropout_threshold;
    float dropout_scale;
    struct tensor_random_key dropout_key;
};

/// Floats of scratch memory that forward (or backward) needs.
size_t tensor_attention_scratch(const struct tensor_attention *shape, bool backward);
/// Products as `tensor_gemm` takes them, over blocks of 64 queries; `scratch` holds `scratch_count` floats, as many as
/// `tensor_attention_scratch` said.
void tensor_attention_forward(const struct tensor_attention *shape, float *out, float *log_sum, const float *qkv, float *scratch,
                              size_t scratch_count);
/// dqkv is overwritten: blocks of queries, the last first, are added up in keys' and values' gradients.
void tensor_attention_backward(const struct tensor_attention *shape, float *dqkv, const float *dout, const float *qkv, const float *out,
                               const float *log_sum, float *scratch, size_t scratch_count);

// MARK: Optimizers (Optimizers.c)

/// PyTorch's SGD: g = scale * gradient + decay * p; m = momentum * m + g; p -= rate * (nesterov ? g + momentum * m : m).
/// `velocity` may be null when momentum is 0.
void tensor_sgd(float *values, const float *gradients, float *velocity, size_t n, float scale, float rate,
                float momentum, float decay, bool nesterov);
/// PyTorch's AdamW: p *= shrink; m += (g - m) * (1 - beta1); v = beta2 * v + (1 - beta2) * g^2;
/// p -= rate * m / (sqrt(v) * inverse_root + epsilon), where g = scale * gradient, shrink = 1 - lr * decay,
/// rate = lr / (1 - beta1^t) and inverse_root = 1 / sqrt(1 - beta2^t).
void tensor_adamw(float *values, const float *gradients, float *first, float *second, size_t n, float scale,
                  float shrink, float rate, float one_minus_beta1, float beta2, float one_minus_beta2,
                  float inverse_root, float epsilon);

// MARK: Reductions over arenas (Reductions.c)

/// sums[k] = sum of squares of block k of x (`block` elements each, the last may be shorter), in double; largest[p] = the largest |x[i]|
/// of part p, which ends at ends[p], NaN if any element is NaN. The last part ends at n, the others at multiples of 16, and so
/// do blocks. What stands in `largest` for empty parts behind the last element is left there.
void tensor_survey(double *sums, float *largest, const float *x, size_t n, size_t block, const size_t *ends);
/// The largest |x[i]|; NaN if any element is NaN; 0 when n is 0.
float tensor_max_magnitude(const float *x, size_t n);

// MARK: Digests (Digest.c)

/// 64 bits that depend on every bit of x, its order and length, and on nothing else: the same on every CPU. One changed element always
/// changes them; other changes go unnoticed with a chance of 2^-32 at most. Not for secrets.
uint64_t tensor_digest(const float *x, size_t n);
