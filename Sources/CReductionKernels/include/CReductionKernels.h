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

// partial[i] += own[i]
void lockstep_add_f32(void *restrict partial, const void *restrict own, size_t count);
void lockstep_add_f64(void *restrict partial, const void *restrict own, size_t count);

// result[i] = partial[i] + own[i]; result may be own, or overlap neither. The carrier's form rounds the exact sum once, to
// the nearest float32.
void lockstep_finish_f32(void *result, const void *partial, const void *own, size_t count);
void lockstep_finish_f64(void *result, const void *partial, const void *own, size_t count);
void lockstep_finish_carrier(void *result, const void *partial, const void *own, size_t count);

// result[i] = float32(carrier[i]): the finish of a world of one.
void lockstep_round_carrier(void *restrict result, const void *restrict carrier, size_t count);
