// The inner loops of the sums. Plain loops over contiguous memory, one clone an instruction set (`Clones.h`).
// Every clone gives the same bits: there is no reassociation, and no contraction of a multiplication with an addition.
#pragma once
#include <stdbool.h>
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

// Packed carriers: 48 bits each, and 16 for each block, wherever all of them come back from that bit for bit (`Packing.c`). Carriers that are
// multiples of one quantum do unless some of a block are 2^47 times as large or more; those that do not are sent as they are.
// At most LOCKSTEP_MOST_PACKED at a time. `packed` and `memory` are aligned for float64, and have room for `count`
// carriers as they are, whatever they hold.
#define LOCKSTEP_PACKING_BLOCK 256
#define LOCKSTEP_MOST_PACKED (1 << 17)

// What `count` carriers take when packed; less than their own 8 * count from 8 of them on.
size_t lockstep_packed_bytes(size_t count);

// Packs carriers. False, and nothing of use in `packed`, where they do not fit.
bool lockstep_pack(void *restrict packed, const double *restrict carriers, size_t count);

// Adds own to the packed carriers in memory, which then holds the sums: packed, or, with false, as they are.
bool lockstep_add_packed(void *restrict memory, const double *restrict own, size_t count);

// result[i] = float32(packed[i] + own[i]), as `lockstep_finish_carrier`. Any bytes may stand in `packed`; they make some numbers.
void lockstep_finish_packed(void *restrict result, const void *restrict packed, const double *restrict own, size_t count);

// Packs the carriers in memory where they are. False, and they are as they were, where they do not fit.
bool lockstep_pack_in_place(void *memory, size_t count);

// Narrow carriers: as float32, where all of them are such numbers, which what one micro-batch's gradient leaves on a grid is.

// narrow[i] = float32(carriers[i]). False, and nothing of use in `narrow`, where some are other numbers then.
bool lockstep_narrow(float *restrict narrow, const double *restrict carriers, size_t count);

// Adds own to the narrow carriers in memory, which has room for `count` carriers as they are and then holds the sums so.
void lockstep_add_narrow(void *memory, const double *restrict own, size_t count);

// result[i] = float32(narrow[i] + own[i]), as `lockstep_finish_carrier`.
void lockstep_finish_narrow(float *restrict result, const float *restrict narrow, const double *restrict own, size_t count);

// result[i] = bfloat16(x[i]), to nearest, ties to even, NaN kept quiet; and back.
void lockstep_to_bf16(uint16_t *restrict result, const float *restrict x, size_t count);
void lockstep_from_bf16(float *restrict result, const uint16_t *restrict x, size_t count);
