#include "Harness.h"
#include <stdio.h>
#include <stdlib.h>

static const struct subject {
    const char *name;
    void (*check)(struct trial *);
    uint64_t digest;
} subjects[] = {
    {"round_bfloat16", check_round_bfloat16, 0x87e8ae37da71bcf9},
    {"add", check_add, 0xf05f43da14ddf074},
    {"subtract", check_subtract, 0x50df2f4ae2484c6c},
    {"multiply", check_multiply, 0x26d857d130f950ea},
    {"scale", check_scale, 0x4fdaf19a0b84f2f6},
    {"fill", check_fill, 0x285cebd1b4b7ce46},
    {"add_row", check_add_row, 0x30b3eaf57c0950d3},
    {"sum_rows", check_sum_rows, 0x18038077e15d65e2},
    {"sum", check_sum, 0x6878b9f8346d95ae},
    {"dot", check_dot, 0x324bd711ef809b6f},
    {"squared_error", check_squared_error, 0x6236efef9b23ab9d},
    {"activate", check_activate, 0x2e2d1270db04bb7e},
    {"relu_backward", check_relu_backward, 0x4a03c6b5375f52af},
    {"sgd", check_sgd, 0x35960639a080b8d6},
    {"adamw", check_adamw, 0xeaeffbb2e56f6c78},
    {"move_average", check_move_average, 0x9bf7ee8c0d14d879},
    {"layer_norm", check_layer_norm, 0xa84cc606143821d7},
    {"layer_norm_backward", check_layer_norm_backward, 0xdc82e0e83db4a4e0},
    {"unit_rows", check_unit_rows, 0xca9de26cb4902a98},
    {"unit_rows_backward", check_unit_rows_backward, 0x502c242c068eeab2},
    {"batch_norm", check_batch_norm, 0x0b1d74ec2832f4aa},
    {"batch_norm_backward", check_batch_norm_backward, 0x9f29f6aee528bb5f},
    {"max_pool", check_max_pool, 0x88e3ec8fbe10274f},
    {"average_pool", check_average_pool, 0xa6aea8de9816a7d7},
    {"transpose", check_transpose, 0x2eaf2f34ce4f6a9c},
    {"cross_entropy", check_cross_entropy, 0x6544eabffc437a7e},
    {"embed", check_embed, 0x80696d27c085651e},
    {"embed_backward", check_embed_backward, 0xbd040290f5746d3d},
    {"random", check_random, 0xa637e4ac5bd36e57},
    {"dropout", check_dropout, 0x29a30c8e4ca548b0},
    {"series", check_series, 0xb4b867b6369c7855},
    {"survey", check_survey, 0xbc67dfec9764110d},
    {"digest", check_digest, 0x2d13d9127c19023e},
    {"gemm", check_gemm, 0xee2c54076fad9040},
    {"gemm_bfloat16", check_gemm_bfloat16, 0x03c1fe308e1250b2},
    {"convolution", check_convolution, 0xb514012cf2d62d2f},
    {"convolution_backward", check_convolution_backward, 0xa653aa9b62455719},
    {"attention", check_attention, 0x9c65c939bef8c860},
    {"carriers", check_carriers, 0x0d65cb5706daf71b},
    {"packing", check_packing, 0x26e893f158384036},
    {"combine", check_combine, 0xf7ca42e69fb58cba},
};

enum { TRIALS = 160 };

/// FNV-1a, 64 bits.
static uint64_t absorb(uint64_t state, const unsigned char *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) state = (state ^ bytes[i]) * 0x100000001b3u;
    return state;
}

/// One trial with every instruction set that the CPU has. Adds what it records to the digest.
static bool run_trial(const struct subject *subject, size_t number, uint64_t *digest) {
    struct recording first = {0};
    bool passes = true;
    for (int level = 0; lockstep_set_kernels((enum lockstep_kernels)level); level++) {
        const char *name = lockstep_kernels_name((enum lockstep_kernels)level);
        uint64_t seed =
            absorb(0xcbf29ce484222325u, (const unsigned char *)subject->name, strlen(subject->name)) + number;
        struct trial trial = {number, seed, NULL};
        begin_recording();
        subject->check(&trial);
        struct recording own = take_recording();
        if (!end_trial()) trial.failure = "something written out of bounds";
        if (level && (own.count != first.count || memcmp(own.bytes, first.bytes, own.count) != 0))
            trial.failure = "not the bits of baseline";
        if (trial.failure) {
            printf("%s, trial %zu, %s: %s\n", subject->name, number, name, trial.failure);
            passes = false;
        }
        if (level) {
            free(own.bytes);
        } else {
            first = own;
        }
    }
    *digest = absorb(*digest, first.bytes, first.count);
    free(first.bytes);
    return passes;
}

static bool run_subject(const struct subject *subject) {
    uint64_t digest = 0xcbf29ce484222325u;
    bool passes = true;
    for (size_t number = 0; number < TRIALS && passes; number++) passes = run_trial(subject, number, &digest);
    printf("%-20s 0x%016llx\n", subject->name, (unsigned long long)digest);
    if (digest != subject->digest)
        printf("%s: the digest must be 0x%016llx\n", subject->name, (unsigned long long)subject->digest);
    return passes && digest == subject->digest;
}

static bool run_subjects(const char *name) {
    bool passes = true, found = false;
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
        if (!name || strcmp(name, subjects[i].name) == 0) {
            found = true;
            passes &= run_subject(&subjects[i]);
        }
    return passes && found;
}

/// Every `stride`th float, with the named instruction set, or with each that the CPU has.
static bool run_functions(uint32_t stride, const char *name) {
    bool passes = true, found = false;
    for (int level = 0; lockstep_set_kernels((enum lockstep_kernels)level); level++)
        if (!name || strcmp(name, lockstep_kernels_name((enum lockstep_kernels)level)) == 0) {
            found = true;
            printf("every %u. float, %s\n", stride, lockstep_kernels_name((enum lockstep_kernels)level));
            passes &= check_functions(stride);
        }
    return passes && found;
}

int main(int count, char **arguments) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *mode = count > 1 ? arguments[1] : "";
    const char *first = count > 2 ? arguments[2] : NULL, *second = count > 3 ? arguments[3] : NULL;
    uint32_t stride = first ? (uint32_t)strtoul(first, NULL, 10) : 4099;
    bool passes = false;
    if (strcmp(mode, "kernels") == 0)
        passes = run_subjects(first);
    else if (strcmp(mode, "functions") == 0 && stride)
        passes = run_functions(stride, second);
    else if (strcmp(mode, "accuracy") == 0 && stride)
        passes = check_accuracy(stride);
    else {
        fprintf(stderr, "usage: KernelCheck kernels [NAME] | functions [STRIDE [KERNELS]] | accuracy [STRIDE]\n");
        return 64;
    }
    return passes ? 0 : 1;
}
