// The inner loops of the sums. Plain loops over contiguous memory, one clone a instruction set, chosen at load time.
// Every clone gives the same bits: there is no reassociation, and no contraction of a multiplication with an addition.
#pragma once
#include <stddef.h>
#include <stdint.h>

// The float bits without the sign order like the magnitudes, with infinity and then NaN above every finite value.
#define LOCKSTEP_INFINITY_BITS 0x7f800000u

// carrier[i] = grid(x[i]), where grid(v) = (v + magic) - magic rounds v to the grid whose quantum is magic's last place.
// Returns the largest magnitude among x as float bits; NaN counts as above infinity. No overlap between the two.
uint32_t lockstep_carrier_set(double *restrict carrier, const float *restrict x, size_t count, double magic);

// carrier[i] += grid(x[i]); returns as above.
uint32_t lockstep_carrier_accumulate(double *restrict carrier, const float *restrict x, size_t count, double magic);

// The largest magnitude among x, as float bits; 0 where count is 0.
uint32_t lockstep_largest_magnitude(const float *x, size_t count);

// Element types and operations of the usual reductions.
enum lockstep_element { LOCKSTEP_F32 = 1, LOCKSTEP_F64, LOCKSTEP_I32, LOCKSTEP_I64, LOCKSTEP_BF16 };
enum lockstep_operation { LOCKSTEP_SUM = 1, LOCKSTEP_MAX, LOCKSTEP_MIN };

// result[i] = partial[i] op own[i]. Any of the three may be the same memory; else they do not overlap. Integers wrap around; the
// maximum and minimum of floats are NaN where either is; bfloat16 is added in float32 and rounded to nearest, ties to even.
void lockstep_combine(enum lockstep_element element, enum lockstep_operation operation, void *result, const void *partial,
                      const void *own, size_t count);

// result[i] = float32(partial[i] + own[i]) of carriers: the exact sum, rounded once, to nearest.
void lockstep_finish_carrier(void *restrict result, const void *restrict partial, const void *restrict own, size_t count);

// result[i] = float32(carrier[i]): the finish of a world of one.
void lockstep_round_carrier(void *restrict result, const void *restrict carrier, size_t count);

// result[i] = bfloat16(x[i]), to nearest, ties to even, NaN kept quiet; and back.
void lockstep_to_bf16(uint16_t *restrict result, const float *restrict x, size_t count);
void lockstep_from_bf16(float *restrict result, const uint16_t *restrict x, size_t count);
