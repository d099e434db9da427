// What tells one kind of CPU from another, as far as results depend on it.
#include "CTensorKernels.h"
#include <stdio.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
/// Maker, family and model, and the instruction sets by which kernels are chosen.
static int describe(char *text, size_t capacity) {
    unsigned a, b, c, d, version = 0;
    char maker[13] = "unknown";
    if (__get_cpuid(0, &a, &b, &c, &d)) snprintf(maker, sizeof maker, "%.4s%.4s%.4s", (char *)&b, (char *)&d, (char *)&c);
    if (__get_cpuid(1, &a, &b, &c, &d)) version = a;
    unsigned family = version >> 8 & 15, model = version >> 4 & 15;
    if (family >= 6) model |= version >> 12 & 0xf0;
    if (family == 15) family += version >> 20 & 0xff;
    unsigned amx = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) amx = d >> 22 & 5;
    return snprintf(text, capacity, "%s family %u model %u%s%s%s%s%s", maker, family, model, __builtin_cpu_supports("avx2") ? " AVX2" : "",
                    __builtin_cpu_supports("avx512bw") ? " AVX-512" : "", __builtin_cpu_supports("avx512vnni") ? " VNNI" : "",
                    __builtin_cpu_supports("avx512bf16") ? " BF16" : "", amx ? " AMX" : "");
}
#elif defined(__linux__)
static int describe(char *text, size_t capacity) {
    return snprintf(text, capacity, "capabilities %lx %lx", getauxval(AT_HWCAP), getauxval(AT_HWCAP2));
}
#else
static int describe(char *text, size_t capacity) { return snprintf(text, capacity, "unknown"); }
#endif

void tensor_cpu_kind(char *text, size_t capacity) {
    int length = describe(text, capacity);
#if defined(_SC_LEVEL2_CACHE_SIZE)
    if (length >= 0 && (size_t)length < capacity)
        snprintf(text + length, capacity - (size_t)length, ", caches of %ld and %ld KiB", sysconf(_SC_LEVEL1_DCACHE_SIZE) / 1024,
                 sysconf(_SC_LEVEL2_CACHE_SIZE) / 1024);
#else
    (void)length;
#endif
}
