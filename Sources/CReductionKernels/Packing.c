// Carriers in 32 or 48 bits each, where that loses nothing.
//
// 32 bits: one micro-batch's gradient is float32, and rounding it to a grid leaves it no more significant bits; so the carriers of a worker that
// has added up nothing yet are float32.
//
// 48 bits: the carriers of a tensor are multiples of one quantum, and few of them use all 53 bits. Take 2^e as 2^-47 of the power of two
// above a block's largest magnitude: carriers that are k 2^e with whole k, |k| < 2^47, fit. Adding M = (2^52 + 2^47) 2^e to such a number
// makes a float64 whose low 48 bits are k + 2^47, and whose other bits are the same for the whole block. What does not come back bit for bit
// when M is subtracted again does not fit.
//
// In memory: 6 bytes an element, little-endian, the blocks one after another; then, at a multiple of 8 bytes, 2 bytes a block: the
// exponent field of M.
#include "CReductionKernels.h"
#include "Clones.h"
#include <string.h>

enum { BLOCK = LOCKSTEP_PACKING_BLOCK, BYTES = 6 };
/// No exponent field: the block does not fit.
enum { MISFIT = 0xffff };
/// The largest exponent field of a float64 that is a number, as M must be.
enum { MOST = 0x7fe };

typedef double doubles __attribute__((vector_size(32), aligned(8), may_alias));
typedef int64_t words __attribute__((vector_size(32), aligned(8), may_alias));
typedef uint8_t bytes __attribute__((vector_size(32)));
typedef uint8_t half __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint16_t exponent __attribute__((may_alias));

static const uint64_t OFFSET = 1ull << 47;
static const uint64_t MAGNITUDE = ~0ull >> 1;

static inline uint64_t bits(double value) {
    uint64_t result;
    memcpy(&result, &value, sizeof result);
    return result;
}

static inline double number(uint64_t bits) {
    double result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/// The exponent field of M for these elements; MISFIT where some are too large for one, or no numbers.
INLINE unsigned exponent_field(const double *x, size_t count) {
    words most = {0};
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        words magnitude = *(const words *)(x + i) & (int64_t)MAGNITUDE;
        words greater = magnitude > most;
        most = (magnitude & greater) | (most & ~greater);
    }
    uint64_t largest = 0;
    for (; i < count; i++) largest = (bits(x[i]) & MAGNITUDE) > largest ? bits(x[i]) & MAGNITUDE : largest;
    for (int lane = 0; lane < 4; lane++) largest = (uint64_t)most[lane] > largest ? (uint64_t)most[lane] : largest;
    // With the largest's field E, |x| < 2^(E - 1022), 2^e is 2^-47 of that, and M's exponent is 52 above e.
    unsigned field = (unsigned)(largest >> 52) + 6;
    return field > MOST ? MISFIT : field;
}

/// Writes count x BYTES bytes and nothing beyond. The exponent field, or MISFIT, with the bytes then undefined.
INLINE unsigned pack_block(uint8_t *to, const double *x, size_t count) {
    unsigned field = exponent_field(x, count);
    if (field == MISFIT) return MISFIT;
    double m = number((uint64_t)field << 52 | OFFSET);
    words difference = {0};
    size_t i = 0;
    // Each step writes four bytes too many, which the next one overwrites.
    for (; i + 8 <= count; i += 4, to += 4 * BYTES) {
        doubles sum = *(const doubles *)(x + i) + m;
        difference |= (words)(sum - m) ^ *(const words *)(x + i);
        bytes all = (bytes)sum;
        half low = __builtin_shufflevector(all, all, 0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, -1, -1, -1, -1);
        half high = __builtin_shufflevector(all, all, 16, 17, 18, 19, 20, 21, 24, 25, 26, 27, 28, 29, -1, -1, -1, -1);
        *(half *)to = low;
        *(half *)(to + 2 * BYTES) = high;
    }
    uint64_t rest = 0;
    for (; i < count; i++, to += BYTES) {
        double sum = x[i] + m;
        rest |= bits(sum - m) ^ bits(x[i]);
        uint64_t packed = bits(sum);
        memcpy(to, &packed, BYTES);
    }
    return (difference[0] | difference[1] | difference[2] | difference[3] | (int64_t)rest) ? MISFIT : field;
}

/// Reads up to four bytes beyond the block's.
INLINE void unpack_block(double *x, const uint8_t *from, unsigned field, size_t count) {
    uint64_t base = (uint64_t)(field & 0x7ff) << 52;
    double m = number(base | OFFSET);
    size_t i = 0;
    for (; i + 4 <= count; i += 4, from += 4 * BYTES) {
        half low = *(const half *)from, high = *(const half *)(from + 2 * BYTES);
        bytes all = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 0, 0, 6, 7, 8, 9, 10, 11, 0, 0, 16, 17, 18, 19, 20, 21, 0, 0,
                                            22, 23, 24, 25, 26, 27, 0, 0);
        words packed = ((words)all & 0xffffffffffff) | (int64_t)base;
        *(doubles *)(x + i) = (doubles)packed - m;
    }
    for (; i < count; i++, from += BYTES) {
        uint64_t packed = 0;
        memcpy(&packed, from, BYTES);
        x[i] = number(packed | base) - m;
    }
}

static inline size_t least(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t fields_offset(size_t count) { return (count * BYTES + 7) & ~(size_t)7; }
static inline size_t block_count(size_t count) { return (count + BLOCK - 1) / BLOCK; }

/// Unpacks so many whole blocks at the beginning of memory where they are.
INLINE void unpack_in_place(void *memory, const exponent *fields, size_t blocks) {
    const uint8_t *packed = memory;
    double *raw = memory, block[BLOCK];
    // The last first: what is written stands behind what is still to be read.
    while (blocks-- > 0) {
        unpack_block(block, packed + blocks * BLOCK * BYTES, fields[blocks], BLOCK);
        memcpy(raw + blocks * BLOCK, block, sizeof block);
    }
}

size_t lockstep_packed_bytes(size_t count) { return fields_offset(count) + sizeof(exponent) * block_count(count); }

/// float32[i] = x[i]. Whether all of them are the same numbers then.
INLINE bool narrow_block(float *restrict to, const double *restrict x, size_t count) {
    uint64_t difference = 0;
    for (size_t i = 0; i < count; i++) {
        to[i] = (float)x[i];
        difference |= bits((double)to[i]) ^ bits(x[i]);
    }
    return difference == 0;
}

CLONED(bool, lockstep_narrow, (float *restrict narrow, const double *restrict carriers, size_t count),
       (narrow, carriers, count)) {
    for (size_t first = 0; first < count; first += BLOCK)
        if (!narrow_block(narrow + first, carriers + first, least(BLOCK, count - first))) return false;
    return true;
}

CLONED(void, lockstep_add_narrow, (void *memory, const double *restrict own, size_t count), (memory, own, count)) {
    const float *narrow = memory;
    double *wide = memory, sum[BLOCK];
    // The last first: what is written stands behind what is still to be read.
    for (size_t block = block_count(count); block-- > 0;) {
        size_t first = block * BLOCK, size = least(BLOCK, count - first);
        for (size_t i = 0; i < size; i++) sum[i] = (double)narrow[first + i] + own[first + i];
        memcpy(wide + first, sum, size * sizeof *sum);
    }
}

CLONED(void, lockstep_finish_narrow,
       (float *restrict result, const float *restrict narrow, const double *restrict own, size_t count),
       (result, narrow, own, count)) {
    for (size_t i = 0; i < count; i++) result[i] = (float)((double)narrow[i] + own[i]);
}

CLONED(bool, lockstep_pack_in_place, (void *memory, size_t count), (memory, count)) {
    uint8_t *to = memory;
    double *wide = memory, block_of[BLOCK];
    // Their place is still that of carriers.
    exponent fields[LOCKSTEP_MOST_PACKED / BLOCK];
    size_t blocks = block_count(count), block = 0;
    for (; block < blocks; block++) {
        size_t first = block * BLOCK, size = least(BLOCK, count - first);
        memcpy(block_of, wide + first, size * sizeof *block_of);
        unsigned field = pack_block(to + first * BYTES, block_of, size);
        if (field == MISFIT) {
            memcpy(wide + first, block_of, size * sizeof *block_of);
            break;
        }
        fields[block] = (exponent)field;
    }
    if (block == blocks) {
        memcpy(to + fields_offset(count), fields, blocks * sizeof *fields);
        return true;
    }
    unpack_in_place(memory, fields, block);
    return false;
}

CLONED(bool, lockstep_pack, (void *restrict packed, const double *restrict carriers, size_t count),
       (packed, carriers, count)) {
    uint8_t *to = packed;
    exponent *fields = (exponent *)(to + fields_offset(count));
    for (size_t first = 0, block = 0; first < count; first += BLOCK, block++) {
        unsigned field = pack_block(to + first * BYTES, carriers + first, least(BLOCK, count - first));
        if (field == MISFIT) return false;
        fields[block] = (exponent)field;
    }
    return true;
}

CLONED(bool, lockstep_add_packed, (void *restrict memory, const double *restrict own, size_t count),
       (memory, own, count)) {
    uint8_t *all = memory;
    exponent *fields = (exponent *)(all + fields_offset(count));
    double sum[BLOCK];
    size_t blocks = block_count(count), misfit = blocks;
    for (size_t block = 0; block < blocks && misfit == blocks; block++) {
        size_t first = block * BLOCK, size = least(BLOCK, count - first);
        unpack_block(sum, all + first * BYTES, fields[block], size);
        for (size_t i = 0; i < size; i++) sum[i] += own[first + i];
        unsigned field = pack_block(all + first * BYTES, sum, size);
        if (field == MISFIT)
            misfit = block;
        else
            fields[block] = (exponent)field;
    }
    if (misfit == blocks) return true;
    // All of them as they are, the last first: what is written stands behind what is still to be read, but for the fields.
    exponent kept[LOCKSTEP_MOST_PACKED / BLOCK];
    memcpy(kept, fields, blocks * sizeof *fields);
    double *raw = memory, other[BLOCK];
    for (size_t block = blocks; block-- > misfit + 1;) {
        size_t first = block * BLOCK, size = least(BLOCK, count - first);
        unpack_block(other, all + first * BYTES, kept[block], size);
        for (size_t i = 0; i < size; i++) other[i] += own[first + i];
        memcpy(raw + first, other, size * sizeof *other);
    }
    memcpy(raw + misfit * BLOCK, sum, least(BLOCK, count - misfit * BLOCK) * sizeof *sum);
    // Those before the misfit have been added.
    unpack_in_place(memory, kept, misfit);
    return false;
}

CLONED(void, lockstep_finish_packed,
       (void *restrict result, const void *restrict packed, const double *restrict own, size_t count),
       (result, packed, own, count)) {
    float *to = result;
    const uint8_t *from = packed;
    const exponent *fields = (const exponent *)(from + fields_offset(count));
    double partial[BLOCK];
    for (size_t first = 0, block = 0; first < count; first += BLOCK, block++) {
        size_t size = least(BLOCK, count - first);
        unpack_block(partial, from + first * BYTES, fields[block], size);
        for (size_t i = 0; i < size; i++) to[first + i] = (float)(partial[i] + own[first + i]);
    }
}
