#pragma once
#include "KernelCheck.h"

/// What one trial with one instruction set has recorded.
struct recording {
    unsigned char *bytes;
    size_t count, capacity;
};

uint64_t next_random(struct trial *trial);
void begin_recording(void);
/// Its memory is the caller's.
struct recording take_recording(void);
/// Frees the trial's memory; whether what stands around each block is as it was.
bool end_trial(void);
