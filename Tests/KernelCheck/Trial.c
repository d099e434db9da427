#include "KernelCheck.h"
#include "Harness.h"
#include <stdio.h>
#include <stdlib.h>

// What a trial allocates, with guards around it, and what it records.

enum { MOST_BLOCKS = 64, GUARD = 64 };
static const unsigned char GUARD_BYTE = 0xa5;

static struct {
    unsigned char *memory;
    size_t bytes, before;
} blocks[MOST_BLOCKS];
static size_t block_count;
static struct recording recording;

uint64_t next_random(struct trial *trial) {
    // SplitMix64.
    uint64_t z = trial->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

size_t pick(struct trial *trial, size_t least, size_t most) { return least + next_random(trial) % (most - least + 1); }

bool flip(struct trial *trial) { return next_random(trial) & 1; }

size_t width(const struct trial *trial) {
    // Not from the stream, so that a trial may ask more than once.
    struct trial own = {0, trial->number, NULL};
    return trial->number <= 130 ? trial->number : pick(&own, 131, 600);
}

size_t columns(const struct trial *trial) { return width(trial) ? width(trial) : 1; }

/// Memory whose address is `shift` floats past a multiple of 64 bytes.
static void *block(size_t bytes, size_t shift) {
    if (block_count == MOST_BLOCKS) abort();
    size_t before = GUARD + 4 * shift, whole = (before + bytes + GUARD + 63) / 64 * 64;
    unsigned char *memory = aligned_alloc(64, whole);
    if (!memory) abort();
    memset(memory, GUARD_BYTE, whole);
    memset(memory + before, 0, bytes);
    blocks[block_count].memory = memory;
    blocks[block_count].bytes = bytes;
    blocks[block_count++].before = before;
    return memory + before;
}

void *room(struct trial *trial, size_t bytes) { return block(bytes, 4 * (next_random(trial) % 4)); }

void *aligned_room(size_t bytes) { return block(bytes, 0); }

void *copy(struct trial *trial, const void *from, size_t bytes) { return memcpy(room(trial, bytes), from, bytes); }

static float uniform(uint64_t random, float scale) { return scale * ((float)(random >> 40) * 0x1p-23f - 1); }

float *floats(struct trial *trial, size_t count, float scale) {
    float *x = block(count * sizeof *x, next_random(trial) % 16);
    for (size_t i = 0; i < count; i++) {
        uint64_t random = next_random(trial);
        x[i] = uniform(random, scale);
        switch (random & 127) {
        case 0:
            x[i] = 0;
            break;
        case 1:
            x[i] = -0.0f;
            break;
        case 2:
            x[i] *= 0x1p-130f;
            break;
        case 3:
            x[i] *= 0x1p-20f;
            break;
        }
    }
    return x;
}

float *wild_floats(struct trial *trial, size_t count) {
    float *x = floats(trial, count, 3);
    for (size_t i = 0; i < count; i++) {
        uint64_t random = next_random(trial);
        switch (random & 127) {
        case 0:
            x[i] = INFINITY;
            break;
        case 1:
            x[i] = -INFINITY;
            break;
        case 2:
            x[i] = NAN;
            break;
        case 3:
        case 4:
            x[i] *= 0x1p126f;
            break;
        case 5:
        case 6:
            x[i] *= 30;
            break;
        }
    }
    return x;
}

int32_t *integers(struct trial *trial, size_t count, int32_t least, uint32_t span) {
    int32_t *x = block(count * sizeof *x, next_random(trial) % 16);
    for (size_t i = 0; i < count; i++)
        x[i] = (int32_t)((uint32_t)least + (uint32_t)((next_random(trial) >> 32) % span));
    return x;
}

double *doubles(struct trial *trial, size_t count, double scale) {
    double *x = block(count * sizeof *x, 2 * (next_random(trial) % 8));
    for (size_t i = 0; i < count; i++) x[i] = scale * ((double)(next_random(trial) >> 11) * 0x1p-52 - 1);
    return x;
}

// MARK: Recording

void record_bytes(struct trial *trial, const void *bytes, size_t count) {
    (void)trial;
    if (recording.count + count > recording.capacity) {
        recording.capacity = 2 * (recording.count + count);
        recording.bytes = realloc(recording.bytes, recording.capacity);
        if (!recording.bytes) abort();
    }
    if (count) memcpy(recording.bytes + recording.count, bytes, count);
    recording.count += count;
}

static uint32_t plain_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return x == x ? bits : 0x7fc00000;
}

void record(struct trial *trial, const float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = plain_bits(x[i]);
        record_bytes(trial, &bits, 4);
    }
}

void record_double(struct trial *trial, double x) {
    if (x != x) x = NAN;
    record_bytes(trial, &x, 8);
}

void expect(struct trial *trial, const float *got, const float *expected, size_t count, const char *what) {
    for (size_t i = 0; i < count; i++)
        if (plain_bits(got[i]) != plain_bits(expected[i])) trial->failure = what;
}

void expect_bytes(struct trial *trial, const void *got, const void *expected, size_t count, const char *what) {
    if (count && memcmp(got, expected, count) != 0) trial->failure = what;
}

void expect_double(struct trial *trial, double got, double expected, const char *what) {
    if (memcmp(&got, &expected, 8) != 0 && (got == got || expected == expected)) trial->failure = what;
}

float lane_sum(const float *terms, size_t count) {
    float lanes[SUM_LANES] = {0};
    for (size_t i = 0; i < count; i++) lanes[i % SUM_LANES] += terms[i];
    for (int half = SUM_LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
    return lanes[0];
}

float lane_dot(const float *a, const float *b, size_t count) {
    float lanes[SUM_LANES] = {0};
    for (size_t i = 0; i < count; i++) lanes[i % SUM_LANES] = fmaf(a[i], b[i], lanes[i % SUM_LANES]);
    for (int half = SUM_LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
    return lanes[0];
}

// MARK: The harness's side

void begin_recording(void) { recording.count = 0; }

struct recording take_recording(void) {
    struct recording taken = recording;
    recording = (struct recording){0};
    return taken;
}

bool end_trial(void) {
    bool intact = true;
    while (block_count > 0) {
        unsigned char *memory = blocks[--block_count].memory;
        size_t before = blocks[block_count].before, end = before + blocks[block_count].bytes;
        for (size_t i = 0; i < before; i++) intact = intact && memory[i] == GUARD_BYTE;
        for (size_t i = end; i < end + GUARD; i++) intact = intact && memory[i] == GUARD_BYTE;
        free(memory);
    }
    return intact;
}
