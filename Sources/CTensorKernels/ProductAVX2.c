// Products of AVX2 and FMA. A tile of 6 rows and 16 columns takes 12 of the 16 registers.
#if defined(__x86_64__)
#define INSTANCE(name) avx2_##name
#define TARGET __attribute__((target("avx2,fma")))
#define ROWS 6
#define VECTORS 1
#include "ProductTiles.h"
#endif
