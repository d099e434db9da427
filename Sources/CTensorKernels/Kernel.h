#pragma once
#include "CTensorKernels.h"
#include "Clones.h"

/// Interleaved partial sums of a reduction: wide enough for one AVX-512 register or two AVX2 ones. A constant, so that the
/// order of every sum is the same on every CPU.
enum { LANES = 16 };

/// Before a loop whose iterations touch nothing of one another: operands may be the same memory, but never shifted
/// against each other. Without it, a loop that works in place falls back to one element at a time.
#define ELEMENTWISE _Pragma("clang loop vectorize(assume_safety) interleave(enable)")
