#pragma once
// A few threads that share the work of one operation (Pool.c).
#include <stddef.h>

/// How many parts the work of one operation may be dealt out to: `tensor_set_threads`.
size_t pool_threads(void);

/// Calls body(context, part) for each part below `parts`, at most `pool_threads()` of them at the same time, and returns when all have
/// returned. The calling thread takes part. Where the pool is at another thread's work, the caller does all parts itself.
void pool_run(size_t parts, void (*body)(void *context, size_t part), void *context);
