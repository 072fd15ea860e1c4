// Compiled once for each level of x86, the best chosen at load; elsewhere the compiler's own target is the only one.
//
// What is marked keeps its sums in lanes of a fixed number, so that every level adds in the same order and gives the same bits.

#pragma once

#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(VADFAST_SANITIZED)
// The choice is made by the loader, before a sanitizer is ready for it.
#define VAD_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VAD_SIMD
#endif

// A clone takes along only what is inlined into it.
#define VAD_INLINE inline __attribute__((always_inline))

// Before a loop that reads from here and there: worth 10 to 20 %, and compilers do not unroll those by themselves.
#if defined(__clang__)
#define VAD_UNROLL _Pragma("clang loop unroll_count(4)")
#else
#define VAD_UNROLL _Pragma("GCC unroll 4")
#endif

namespace vad {

// n up to whole steps: lanes, panels, lines of the cache.
inline int64_t rounded_up(int64_t n, int64_t step) {
    return (n + step - 1) / step * step;
}

}  // namespace vad

// What the CPU and the CUDA form share, so that both compute the same.
#ifdef __CUDACC__
#define VAD_BOTH __host__ __device__ __forceinline__
#else
#define VAD_BOTH VAD_INLINE
#endif
