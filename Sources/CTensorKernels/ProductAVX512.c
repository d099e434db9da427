// Products of AVX-512. A tile of 8 rows and 48 columns takes 24 of the 32 registers, three loads of b and eight of a for 24 multiplications.
#if defined(__x86_64__)
#define INSTANCE(name) avx512_##name
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#define ROWS 8
#define VECTORS 3
#include "ProductTiles.h"
#endif
