// Products without anything of a CPU's kind: on AArch64 these are NEON's, whose 32 registers of four hold a tile of 6 rows and 16 columns;
// on x86-64 every multiplication and addition is a call of fmaf, slow and right.
#define INSTANCE(name) baseline_##name
#define TARGET
#define ROWS 6
#define VECTORS 1
#if defined(__x86_64__)
// Calls: unrolling them makes nothing faster.
#define UNROLLED
#endif
#include "ProductTiles.h"
