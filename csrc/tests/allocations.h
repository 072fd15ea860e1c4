// Counts what a program allocates with malloc, calloc and new: for the promise that only vad_*_create() does; and refuses it memory, for
// what happens without. To be included once.
//
// A sanitizer has its own malloc, which is not to be replaced: there nothing is counted or refused, and works() says so by being true
// anyway.

#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)

namespace allocations {
inline bool refused = false;
inline long count() { return 0; }
inline bool works() { return true; }
}  // namespace allocations

#else

namespace allocations {
inline thread_local long n = 0;
inline thread_local bool refused = false;  // in this thread
inline long count() { return n; }
}  // namespace allocations

extern "C" {

void * __libc_malloc(size_t);
void * __libc_calloc(size_t, size_t);

void * malloc(size_t n_bytes) {
    allocations::n++;
    return allocations::refused ? nullptr : __libc_malloc(n_bytes);
}

void * calloc(size_t n, size_t n_bytes) {
    allocations::n++;
    return __libc_calloc(n, n_bytes);
}

}

namespace allocations {

// Whether one that is made is seen.
inline bool works() {
    const long before = count();
    delete new volatile int(1);
    return count() == before + 1;
}

}  // namespace allocations

#endif
