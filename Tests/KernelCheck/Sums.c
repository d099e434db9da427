#include "KernelCheck.h"
#include "Harness.h"

// The sums of gradients between workers.

static uint32_t most_magnitude(const float *x, size_t n) {
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return most;
}

void check_carriers(struct trial *t) {
    size_t n = width(t);
    float *x = floats(t, n, 1), *y = floats(t, n, 1), *result = room(t, n * 4), *expected = room(t, n * 4);
    double *carrier = room(t, n * 8), *own = room(t, n * 8), magic = ldexp(1.5, 52 - (int)pick(t, 10, 40));
    uint32_t most = lockstep_carrier_set(carrier, x, n, magic), own_most = most_magnitude(x, n);
    uint32_t more = lockstep_carrier_accumulate(carrier, y, n, magic), own_more = most_magnitude(y, n);
    for (size_t i = 0; i < n; i++) own[i] = ((x[i] + magic) - magic) + ((y[i] + magic) - magic);
    expect_bytes(t, carrier, own, n * 8, "carriers");
    expect_bytes(t, &most, &own_most, 4, "the largest of the first");
    expect_bytes(t, &more, &own_more, 4, "the largest of the second");
    uint32_t largest = lockstep_largest_magnitude(x, n);
    expect_bytes(t, &largest, &own_most, 4, "the largest");
    lockstep_round_carrier(result, carrier, n);
    for (size_t i = 0; i < n; i++) expected[i] = (float)own[i];
    expect(t, result, expected, n, "rounded");
    record(t, result, n);
    double *other = doubles(t, n, 2);
    lockstep_finish_carrier(result, other, carrier, n);
    for (size_t i = 0; i < n; i++) expected[i] = (float)(other[i] + own[i]);
    expect(t, result, expected, n, "finished");
    record(t, result, n);
    record_bytes(t, carrier, n * 8);
}

/// Carriers of few enough bits to be packed, or, in `wild` trials, of too many.
static double *any_carriers(struct trial *t, size_t n, bool wild) {
    double *x = doubles(t, n, 1);
    for (size_t i = 0; i < n; i++) x[i] = (x[i] + 0x1.8p20) - 0x1.8p20;
    if (wild && n) x[pick(t, 0, n - 1)] = 0x1.23456789abcdep-30;
    return x;
}

void check_packing(struct trial *t) {
    // Some blocks of 256, and a rest.
    size_t n = width(t) + 256 * pick(t, 0, 2), bytes = 8 * n + 64;
    double *x = any_carriers(t, n, pick(t, 0, 3) == 0), *own = any_carriers(t, n, pick(t, 0, 3) == 0);
    unsigned char *packed = room(t, bytes > lockstep_packed_bytes(n) ? bytes : lockstep_packed_bytes(n));
    float *result = room(t, n * 4), *expected = room(t, n * 4);
    double *sum = room(t, n * 8);
    for (size_t i = 0; i < n; i++) expected[i] = (float)(sum[i] = x[i] + own[i]);
    bool fits = lockstep_pack(packed, x, n);
    record_bytes(t, &fits, 1);
    if (fits) {
        record_bytes(t, packed, lockstep_packed_bytes(n));
        lockstep_finish_packed(result, packed, own, n);
        expect(t, result, expected, n, "finished from packed carriers");
        bool still = lockstep_add_packed(packed, own, n);
        record_bytes(t, &still, 1);
        if (still)
            record_bytes(t, packed, lockstep_packed_bytes(n));
        else
            expect_bytes(t, packed, sum, n * 8, "sums that do not fit");
    }
    double *place = room(t, bytes > lockstep_packed_bytes(n) ? bytes : lockstep_packed_bytes(n));
    memcpy(place, x, n * 8);
    bool in_place = lockstep_pack_in_place(place, n);
    if (in_place != fits) t->failure = "packed in place or not";
    if (!in_place) expect_bytes(t, place, x, n * 8, "carriers that do not fit");

    float *narrow = room(t, n * 8);
    bool are_floats = lockstep_narrow(narrow, x, n);
    record_bytes(t, &are_floats, 1);
    if (!are_floats) return;
    lockstep_finish_narrow(result, narrow, own, n);
    expect(t, result, expected, n, "finished from narrow carriers");
    lockstep_add_narrow(narrow, own, n);
    expect_bytes(t, narrow, sum, n * 8, "sums of narrow carriers");
}

#define COMBINE(type, element, sum, greater, fill)                                                     \
    for (int operation = LOCKSTEP_SUM; operation <= LOCKSTEP_MIN; operation++) {                       \
        type *a = fill, *b = fill, *got = room(t, n * sizeof(type)), *own = room(t, n * sizeof(type)); \
        lockstep_combine(element, (enum lockstep_operation)operation, got, a, b, n);                   \
        for (size_t i = 0; i < n; i++) {                                                               \
            type p = a[i], q = b[i];                                                                   \
            own[i] = operation == LOCKSTEP_SUM   ? (sum)                                               \
                     : operation == LOCKSTEP_MAX ? ((greater) ? p : q)                                 \
                                                 : ((greater) ? q : p);                                \
        }                                                                                              \
        expect_bytes(t, got, own, n * sizeof(type), #type);                                            \
        record_bytes(t, got, n * sizeof(type));                                                        \
    }

/// Without equal ones of both signs: which of them a maximum is, is not said here.
static float *ordered_floats(struct trial *t, size_t n) {
    float *x = floats(t, n, 3);
    for (size_t i = 0; i < n; i++) x[i] += 4;
    return x;
}

void check_combine(struct trial *t) {
    size_t n = width(t);
    COMBINE(float, LOCKSTEP_F32, p + q, p > q, ordered_floats(t, n))
    COMBINE(double, LOCKSTEP_F64, p + q, p > q, doubles(t, n, 3))
    COMBINE(int32_t, LOCKSTEP_I32, (int32_t)((uint32_t)p + (uint32_t)q), p > q, integers(t, n, INT32_MIN, UINT32_MAX))
    int64_t *a = (int64_t *)doubles(t, n, 1), *b = (int64_t *)doubles(t, n, 1), *got = room(t, n * 8);
    lockstep_combine(LOCKSTEP_I64, LOCKSTEP_SUM, got, a, b, n);
    for (size_t i = 0; i < n; i++)
        if ((uint64_t)got[i] != (uint64_t)a[i] + (uint64_t)b[i]) t->failure = "int64_t";
    // bfloat16: NaN wins, and what is added is rounded once. The bits are in the digest.
    uint16_t *p = room(t, n * 2), *q = room(t, n * 2), *half = room(t, n * 2);
    float *x = wild_floats(t, n), *y = floats(t, n, 3), *wide = room(t, n * 4);
    lockstep_to_bf16(p, x, n);
    lockstep_to_bf16(q, y, n);
    for (int operation = LOCKSTEP_SUM; operation <= LOCKSTEP_MIN; operation++) {
        lockstep_combine(LOCKSTEP_BF16, (enum lockstep_operation)operation, half, p, q, n);
        lockstep_from_bf16(wide, half, n);
        record(t, wide, n);
    }
}
