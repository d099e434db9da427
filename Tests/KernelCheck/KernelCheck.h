// Every kernel with every instruction set that this CPU has, on pseudo-random inputs: all must give the same bits,
// which are those of a short reference, and those of every other CPU, which stand here as digests.
//
// To check one more kernel: write a function that draws sizes and inputs, calls the kernel, expects what a plain loop
// gives and records the outputs; declare it below and name it in `subjects` of Main.c, with the digest that a run then
// prints.
#pragma once
#include "Clones.h"
#include "CReductionKernels.h"
#include "CTensorKernels.h"
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/// One call of a subject: the same numbers for every instruction set.
struct trial {
    /// Counts from 0; the trials of a subject cover all remainders of sizes: see `width`.
    size_t number;
    uint64_t random;
    /// What failed, or null.
    const char *failure;
};

// MARK: Inputs, from the trial's random numbers; memory lives until the trial ends.

/// In least ... most.
size_t pick(struct trial *trial, size_t least, size_t most);
bool flip(struct trial *trial);
/// Sizes along which loops are vectorised: 0, 1, 2 ... 130, one after the other, then up to 600.
size_t width(const struct trial *trial);
/// The same without 0.
size_t columns(const struct trial *trial);
/// In -scale ... scale, with zeros of both signs, denormal numbers and small ones among them. Aligned anyhow.
float *floats(struct trial *trial, size_t count, float scale);
/// The same with large numbers, infinities and NaN.
float *wild_floats(struct trial *trial, size_t count);
/// In least ..< least + span.
int32_t *integers(struct trial *trial, size_t count, int32_t least, uint32_t span);
double *doubles(struct trial *trial, size_t count, double scale);
/// Zeros.
void *room(struct trial *trial, size_t bytes);
/// Zeros from a multiple of 64 bytes on.
void *aligned_room(size_t bytes);
void *copy(struct trial *trial, const void *from, size_t bytes);

// MARK: Outputs

/// Outputs take part in the digest, and must be the same for every instruction set. NaN is NaN: its bits follow the
/// CPU.
void record(struct trial *trial, const float *x, size_t count);
void record_bytes(struct trial *trial, const void *bytes, size_t count);
void record_double(struct trial *trial, double x);
/// Bit for bit, but that NaN is NaN.
void expect(struct trial *trial, const float *got, const float *expected, size_t count, const char *what);
void expect_bytes(struct trial *trial, const void *got, const void *expected, size_t count, const char *what);
void expect_double(struct trial *trial, double got, double expected, const char *what);

// MARK: What references are made of

enum { SUM_LANES = 16 };
/// The sum of terms: element i goes to lane i % 16, and the lanes add up in a tree.
float lane_sum(const float *terms, size_t count);
/// The sum of products, each fused with its addition.
float lane_dot(const float *a, const float *b, size_t count);

// MARK: Subjects

void check_round_bfloat16(struct trial *);
void check_add(struct trial *);
void check_subtract(struct trial *);
void check_multiply(struct trial *);
void check_scale(struct trial *);
void check_fill(struct trial *);
void check_add_row(struct trial *);
void check_sum_rows(struct trial *);
void check_sum(struct trial *);
void check_dot(struct trial *);
void check_squared_error(struct trial *);
void check_activate(struct trial *);
void check_relu_backward(struct trial *);
void check_sgd(struct trial *);
void check_adamw(struct trial *);
void check_move_average(struct trial *);
void check_layer_norm(struct trial *);
void check_layer_norm_backward(struct trial *);
void check_unit_rows(struct trial *);
void check_unit_rows_backward(struct trial *);
void check_batch_norm(struct trial *);
void check_batch_norm_backward(struct trial *);
void check_max_pool(struct trial *);
void check_average_pool(struct trial *);
void check_transpose(struct trial *);
void check_cross_entropy(struct trial *);
void check_embed(struct trial *);
void check_embed_backward(struct trial *);
void check_random(struct trial *);
void check_dropout(struct trial *);
void check_series(struct trial *);
void check_survey(struct trial *);
void check_digest(struct trial *);
void check_carriers(struct trial *);
void check_packing(struct trial *);
void check_combine(struct trial *);

void check_gemm(struct trial *);
void check_gemm_bfloat16(struct trial *);
void check_convolution(struct trial *);
void check_convolution_backward(struct trial *);
void check_attention(struct trial *);

// MARK: Functions of one float (Functions.c)

/// Every `stride`th float through every elementary function, with the instruction set that is in use; whether all
/// digests are what they must be. They are known for strides 1 and 4099.
bool check_functions(uint32_t stride);
/// The same functions beside the C library's in double; whether errors are within what comments say.
bool check_accuracy(uint32_t stride);
