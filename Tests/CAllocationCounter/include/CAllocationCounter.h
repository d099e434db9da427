#pragma once

// How often this process has asked for heap memory, on any thread that is counted, since it started.
//
// Linking this target into an executable puts its malloc and relatives before glibc's, to which they pass everything on.
// In a shared object (a test bundle, say) they are not found first, and the count stays 0: use it in executables.
unsigned long allocation_count(void);

// Whatever the calling thread asks for from now on is not counted: it belongs to another process where the program is used.
void allocation_count_without_this_thread(void);

// The count, and from now on the next call of malloc or its relatives is remembered with its callers.
unsigned long allocation_count_traced(void);

// Writes the callers of the one that is remembered, if there is one; to be called when nobody allocates.
void allocation_trace_print(int descriptor);
