// Compiled once for each level of x86, the best chosen at load; elsewhere the compiler's own target is the only one.
//
// What is marked keeps its sums in lanes of a fixed number, so that every level adds in the same order and gives the same bits.

#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(VADFAST_SANITIZED)
// The choice is made by the loader, before a sanitizer is ready for it.
#define VAD_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VAD_SIMD
#endif

// A clone takes along only what is inlined into it.
#define VAD_INLINE inline __attribute__((always_inline))
