#pragma once

// How often this process has asked for heap memory, on any thread, since it started.
//
// Linking this target into an executable puts its malloc and relatives before glibc's, to which they pass everything on.
// In a shared object (a test bundle, say) they are not found first, and the count stays 0: use it in executables.
unsigned long allocation_count(void);
